"""The process of an attacker: enters its place, and tries what it is told, each in a child.

Everything is imported before the place is entered: there are no files in it.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
import traceback
from typing import Any

from support.hostile import by_locks, on_directories, on_processes, on_segments, places

_MODULES = {m.__name__: m for m in (by_locks, on_directories, on_processes, on_segments)}


def main() -> None:
    """Obey the orders on the standard input, a line each."""
    parent, place, view, run, scratch = sys.argv[1:]
    places.die_with(int(parent))
    if place == "nobody":
        places.enter_nobody()
    else:
        view, run = places.enter_container(view, run, scratch, careless=place == "careless")
    for line in sys.stdin.buffer:
        module, name, arguments = json.loads(line)
        attack = getattr(_MODULES[module], name)
        _in_a_child(lambda: attack(view, run, *arguments), inspect.isgeneratorfunction(attack))  # noqa: B023


def _in_a_child(attack: Any, holds: bool) -> None:
    if holds:  # it is the last: what it holds goes with this process
        _attempt(attack)
        return
    child = os.fork()
    if child == 0:
        places.die_with(os.getppid())
        _attempt(attack)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code:
        _say("killed", -code)


def _attempt(attack: Any) -> None:
    try:
        result = attack()
        if inspect.isgenerator(result):
            _held.append(result)
            result = next(result)
        _say("done", result)
    except OSError as refused:
        _say("refused", refused.errno)
    except Exception:
        _say("crashed", traceback.format_exc())


_held: list[Any] = []


def _say(kind: str, value: Any) -> None:
    os.write(1, json.dumps([kind, value]).encode() + b"\n")
