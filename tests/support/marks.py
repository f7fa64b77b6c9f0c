"""What a process was doing when it died: a small mapped file that outlives it.

Every thread of the process has a slot: the operation it is in and the last step it reached. The
file also says where the process is to die by its own hand: the only way to die exactly there.
"""

from __future__ import annotations

import mmap
import os
import re
import signal
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

_HEAD = struct.Struct("<64sQQ")  # the armed step, its occurrences to death, threads so far
_SLOT = struct.Struct("<QI56s56s")  # sequence, depth, operation, step
_SLOTS = 500
_SIZE = _HEAD.size + _SLOTS * _SLOT.size

BEGINS, ENDS = ": begins", ": ends"


@dataclass(frozen=True, slots=True)
class Mark:
    """One thread of a process that is dead: in the middle of ``operation``, just past ``step``."""

    operation: str
    step: str


class Marks:
    """The marks of one process; the same file for who watches it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        fd = os.open(path, flags, 0o600)
        os.ftruncate(fd, _SIZE)
        self._memory = mmap.mmap(fd, _SIZE)
        os.close(fd)
        self._mutex = threading.Lock()
        self._sequence = count(1)
        self._here = threading.local()

    # By who watches.

    def arm(self, step: str = "", occurrence: int = 0) -> None:
        """Let the process die at that occurrence, counted from now, of steps that start with
        ``step``; 0 lets it live."""
        self._memory[:72] = _HEAD.pack(step.encode(), occurrence, 0)[:72]

    def clear(self) -> None:
        """Make ready for the next process."""
        self._memory[:] = bytes(_SIZE)

    def in_flight(self) -> Mark | None:
        """What the dead process had reached last in an operation that had not ended."""
        _, _, threads = _HEAD.unpack_from(self._memory)
        slots = (
            _SLOT.unpack_from(self._memory, _HEAD.size + i * _SLOT.size) for i in range(threads)
        )
        under_way = [slot for slot in slots if slot[1]]
        if not under_way:
            return None
        _, _, operation, step = max(under_way)
        return Mark(operation.rstrip(b"\0").decode(), step.rstrip(b"\0").decode())

    # By the process itself.

    def reached(self, step: str) -> None:
        """Takes the place of :func:`tetrisd.steps.reached`."""
        stack = self._stack()
        if step.endswith(BEGINS):
            stack.append(step.removesuffix(BEGINS))
        self._write(stack, step)
        self._die_if_armed(step)
        if step.endswith(ENDS) and stack:
            stack.pop()
            self._write(stack, step)

    def _stack(self) -> list[str]:
        here = self._here
        if not hasattr(here, "stack"):
            with self._mutex:
                _, _, threads = _HEAD.unpack_from(self._memory)
                struct.pack_into("<Q", self._memory, 72, threads + 1)
            here.place = _HEAD.size + threads * _SLOT.size
            here.stack = []
        return here.stack

    def _write(self, stack: list[str], step: str) -> None:
        operation = stack[0].encode() if stack else b""
        sequence = next(self._sequence)
        _SLOT.pack_into(
            self._memory, self._here.place, sequence, len(stack), operation, step.encode()
        )

    def _die_if_armed(self, step: str) -> None:
        armed, left, _ = _HEAD.unpack_from(self._memory)
        if not left or not step.encode().startswith(armed.rstrip(b"\0")):
            return
        with self._mutex:
            _, left, _ = _HEAD.unpack_from(self._memory)
            struct.pack_into("<Q", self._memory, 64, max(0, left - 1))
            if left == 1:
                os.kill(os.getpid(), signal.SIGKILL)


_marks: Marks | None = None


def install(marks: Marks | None) -> None:
    """From here on this process marks its steps there."""
    global _marks
    from tetrisd import steps

    _marks = marks
    steps.reached = marks.reached if marks else lambda step: None


def reached(step: str) -> None:
    """A step of a client's program."""
    if _marks is not None:
        _marks.reached(step)


@contextmanager
def operation(name: str) -> Iterator[None]:
    """An operation of a client's program, whichever way it ends."""
    reached(name + BEGINS)
    try:
        yield
    finally:
        reached(name + ENDS)


def steps_in(*sources: Path) -> set[str]:
    """The steps that these sources name."""
    text = "".join(source.read_text() for source in sources)
    found = set(re.findall(r'\breached\(\s*"([^"]+)"', text))
    for name in re.findall(r'\b(?:steps\.of|operation)\(\s*"([^"]+)"', text):
        found |= {name + BEGINS, name + ENDS}
    return found
