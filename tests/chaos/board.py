"""What the processes of a run tell each other: a mapped file that no kill can take away.

Each worker counts in a row of its own, so nothing is counted twice and nothing needs a lock.
"""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path

COUNTS = (
    "publishes by path",
    "publishes by stream",
    "publishes that met a published model",
    "attaches",
    "releases",
    "forks",
    "pins and unpins",
    "evictions",
    "collections",
    "tensors checked",
    "calls tried again",
)
INVARIANTS = ("leaked bytes", "early removals", "wrong bytes", "stuck publishers", "other faults")

_ROWS = 64
_ROW = 8 * len(COUNTS)
_FLAGS = 1 + _ROWS * _ROW  # where the flags of the models start
_MODELS = 4096
_PINNED, _UNSURE = 1, 2
_SIZE = _FLAGS + _MODELS


class Board:
    """The counters, the flags of the models, and the list of violations.

    Attributes:
        row: where this process counts.
    """

    def __init__(self, path: Path, row: int = 0) -> None:
        self.path = path
        self.row = row
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.ftruncate(fd, _SIZE)
        self._memory = mmap.mmap(fd, _SIZE)
        os.close(fd)
        self._faults = path.with_suffix(".faults")

    @property
    def stopping(self) -> bool:
        """Whether the clients are to end."""
        return bool(self._memory[0])

    @stopping.setter
    def stopping(self, value: bool) -> None:
        self._memory[0] = value

    def add(self, what: str, number: int = 1) -> None:
        """Count."""
        place = 1 + self.row * _ROW + 8 * COUNTS.index(what)
        (before,) = struct.unpack_from("<Q", self._memory, place)
        struct.pack_into("<Q", self._memory, place, before + number)

    def total(self, what: str) -> int:
        """The sum over all workers."""
        column = 1 + 8 * COUNTS.index(what)
        return sum(
            struct.unpack_from("<Q", self._memory, column + row * _ROW)[0] for row in range(_ROWS)
        )

    def pinned(self, model: int) -> bool:
        """Whether somebody was told that it is, and nobody has asked for the contrary since."""
        return self._memory[_FLAGS + model] == _PINNED

    def set_pinned(self, model: int) -> None:
        """From here on the absence of the model is a fault."""
        if self._memory[_FLAGS + model] != _UNSURE:
            self._memory[_FLAGS + model] = _PINNED

    def set_unsure(self, model: int) -> None:
        """Somebody asks for the contrary: until there is an answer nobody knows."""
        self._memory[_FLAGS + model] = _UNSURE

    def set_unpinned(self, model: int) -> None:
        """It may go."""
        self._memory[_FLAGS + model] = 0

    def forget_models(self) -> None:
        """The next round has others."""
        self._memory[_FLAGS:] = bytes(_SIZE - _FLAGS)

    def fault(self, invariant: str, sentence: str) -> None:
        """Report a violation."""
        assert invariant in INVARIANTS
        fd = os.open(self._faults, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.write(fd, f"{invariant}: {' '.join(sentence.split())}\n".encode())
        os.close(fd)

    def faults(self) -> list[str]:
        """Every violation reported."""
        return self._faults.read_text().splitlines() if self._faults.exists() else []
