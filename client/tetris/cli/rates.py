"""How often things happen: events counted from the moment that the daemon tells them."""

from __future__ import annotations

import argparse
import threading
import time
from collections import Counter
from contextlib import suppress
from types import TracebackType
from typing import Any, NamedTuple

from tetris.cli import watch
from tetris.errors import TetrisError
from tetris.v1 import tetris_pb2 as pb

# Seconds between two tries to watch a daemon that does not answer.
_PAUSE = 1.0
_KINDS = {
    pb.Event.MODEL_ATTACHED: "attaches",
    pb.Event.MODEL_PUBLISHED: "publishes",
    pb.Event.MODEL_EVICTED: "evictions",
    pb.Event.PUBLISH_REFUSED: "refusals",
    pb.Event.ATTACH_REFUSED: "refusals",
    pb.Event.FALLBACK_REPORTED: "fallbacks",
}
NAMES = tuple(dict.fromkeys(_KINDS.values()))


class Counted(NamedTuple):
    """Events of some time.

    Attributes:
        seconds: how long it was; 0: nobody counted.
        kinds: events by the name of their kind.
        attaches: attaches by tenant (empty: the one that is watched) and fingerprint.
    """

    seconds: float
    kinds: Counter[str]
    attaches: Counter[tuple[str, str]]


class Rates:
    """Counts events in a thread of its own."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._all = arguments.all_tenants
        self._rpc = watch.daemon_of(arguments)
        self._mutex = threading.Lock()
        self._since: float | None = None
        self._events: list[pb.Event] = []
        self._call: Any = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Rates:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        with self._mutex:
            if self._call is not None:
                self._call.cancel()
        self._thread.join()

    def take(self) -> Counted:
        """What happened since the last time."""
        now = time.monotonic()
        with self._mutex:
            events, self._events = self._events, []
            seconds = now - self._since if self._since is not None else 0.0
            self._since = now if self._since is not None else None
        return Counted(
            seconds,
            Counter(_KINDS[e.kind] for e in events),
            Counter(
                (e.tenant if self._all else "", e.fingerprint.hex())
                for e in events
                if e.kind == pb.Event.MODEL_ATTACHED
            ),
        )

    def _run(self) -> None:
        while not self._over.is_set():
            with suppress(TetrisError), self._rpc.stub() as stub:
                self._listen(watch.begin(stub, all_tenants=self._all))
            with self._mutex:
                self._since = None
            self._over.wait(_PAUSE)

    def _listen(self, call: Any) -> None:
        with self._mutex:
            self._call = call
            if self._over.is_set():
                call.cancel()
        call.initial_metadata()  # comes when nothing is missed any more
        with self._mutex:
            self._since = time.monotonic()
        for event in call:
            if event.kind in _KINDS:
                with self._mutex:
                    self._events.append(event)
