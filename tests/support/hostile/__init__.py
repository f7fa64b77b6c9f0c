"""Hostile clients: real processes that attack the store from where a client may be.

Three places. ``nobody`` is another user of the host who may open the tenant's socket. ``container``
is root in a mount and process namespace of its own, in which the tenant's view and the directory
of its socket are mounted read-only and nothing else is, with the capabilities that containers get
by default. ``careless`` is the same with every capability but ``CAP_SYS_ADMIN``: with that one a
process can make any mount writable again, which no file system protects from.

An attack is a function in a module of this package. It raises the ``OSError`` that refused it, or
returns what it got; one that yields holds what it has until it is told to go on. Each runs in a
process of its own, forked by one that entered the place before.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PLACES = ("nobody", "container", "careless")

_CHILD = "from support.hostile.child import main; main()"
_TESTS = Path(__file__).parents[2]


class Hostile:
    """Attackers of one view.

    Args:
        view: the tenant's directory of segments.
        run: the directory of its socket.
        scratch: any empty directory, to mount a container's root on.
    """

    def __init__(self, view: Path, run: Path, scratch: Path) -> None:
        self._paths = [str(view), str(run), str(scratch)]
        self._lairs: dict[str, subprocess.Popen[bytes]] = {}

    def tries(self, place: str, attack: Callable[..., Any], *arguments: Any) -> Any:
        """What came of an attack: the name of the errno or signal, or ``["done", result]``."""
        if place not in self._lairs:
            self._lairs[place] = self._enter(place)
        return _told(self._lairs[place], attack, arguments)

    @contextmanager
    def holds(self, place: str, attack: Callable[..., Any], *arguments: Any) -> Iterator[Any]:
        """What an attack that yields has taken, while it holds that."""
        lair = self._enter(place)
        try:
            yield _told(lair, attack, arguments)
        finally:
            lair.communicate(timeout=60)

    def close(self) -> None:
        """No attacker is left."""
        while self._lairs:
            self._lairs.popitem()[1].communicate(timeout=60)

    def _enter(self, place: str) -> subprocess.Popen[bytes]:
        # No preexec_fn: with one, a fork waits for gRPC's threads to rest. The child itself sees to
        # it that it does not outlive us.
        return subprocess.Popen(
            [sys.executable, "-S", "-c", _CHILD, str(os.getpid()), place, *self._paths],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PYTHONPATH": str(_TESTS), "PYTHONDONTWRITEBYTECODE": "1"},
        )


def _told(lair: subprocess.Popen[bytes], attack: Callable[..., Any], arguments: Any) -> Any:
    order = [attack.__module__, attack.__name__, arguments]
    assert lair.stdin is not None
    assert lair.stdout is not None
    lair.stdin.write(json.dumps(order).encode() + b"\n")
    lair.stdin.flush()
    kind, value = json.loads(lair.stdout.readline())
    assert kind != "crashed", value
    if kind == "refused":
        return errno.errorcode[value]
    return signal.Signals(value).name if kind == "killed" else [kind, value]
