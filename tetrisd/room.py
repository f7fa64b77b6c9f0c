"""Room: what segments may still take, and what publishes under way have been promised.

Admission decides before the first byte is written, so a store that is full says so in a sentence:
``fallocate`` past the memory limit of a control group would kill the daemon instead.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tetris import cgroup

# Kept back from segments: a full store must still be able to write a lease.
_KEPT_BYTES = 256 << 10
_KEPT_FILES = 64
_PAGE = os.sysconf("SC_PAGE_SIZE")


def meminfo() -> dict[str, int]:
    """What the kernel says of the memory of this host, in bytes, by its names."""
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if words[2:] == ["kB"]}


def allocated(nbytes: int) -> int:
    """Bytes that a file of ``nbytes`` takes on a tmpfs: whole pages."""
    return -(-nbytes // _PAGE) * _PAGE


@dataclass(frozen=True, slots=True)
class Need:
    """What a publish asks for.

    Attributes:
        model: its name.
        nbytes: that segments not resident yet will take.
        charged: the same, of segments that its tenant has not published yet.
        files: how many new segments, and links to segments, that is.
    """

    model: str
    nbytes: int
    charged: int
    files: int


@dataclass(frozen=True, slots=True)
class Room:
    """Free bytes, and a clause that says whose limit this is."""

    nbytes: int
    limit: str


class Reservation:
    """Bytes promised to one publish, and not written yet.

    Args:
        nbytes: how many.
        charged: how many of the tenant's quota, until the publish ends.
        more: asked when it turns out to need others.
    """

    def __init__(self, nbytes: int, charged: int, more: Callable[[int], None]) -> None:
        self.left = nbytes
        self.charged = charged
        self._more = more

    def ensure(self, nbytes: int) -> None:
        """Have ``nbytes`` promised, whatever was spent before.

        Raises:
            NoSpaceError: more than was promised, and there is no room for the rest.
        """
        missing = nbytes - self.left
        if missing > 0:
            self._more(missing)
            self.left += missing
            self.charged += missing

    def spend(self, nbytes: int) -> None:
        """These bytes are written now, and show in the file system."""
        self.left -= nbytes

    def regain(self, nbytes: int) -> None:
        """What was written is about to be given up, and may be written again."""
        self.left += nbytes


class Limits:
    """Every limit that segments are under.

    Args:
        directory: descriptor of a directory on the tmpfs.
        capacity: bytes that all segments may take; 0: no limit of ours.
        headroom: bytes to leave to the host, and to the daemon's control group.
    """

    def __init__(self, directory: int, capacity: int, headroom: int) -> None:
        self._directory = directory
        self.configure(capacity, headroom)

    def configure(self, capacity: int, headroom: int) -> None:
        """Take other limits from now on."""
        self._capacity = capacity
        self._headroom = headroom

    def room(self, taken: int, files: int) -> Room:
        """The least that any limit leaves.

        Args:
            taken: bytes that segments take now.
            files: how many new ones there will be.
        """
        rooms = [self._tmpfs(files), self._host(), *self._control_groups()]
        if self._capacity:
            rooms.append(Room(self._capacity - taken, "the capacity of the store"))
        least = min(rooms, key=lambda room: room.nbytes)
        return Room(max(0, least.nbytes), least.limit)

    def capacity(self) -> int:
        """The configured limit, or the size of the tmpfs where that is less; 0: no limit."""
        fs = os.fstatvfs(self._directory)
        limits = [limit for limit in (self._capacity, fs.f_blocks * fs.f_frsize) if limit]
        return min(limits, default=0)

    def _tmpfs(self, files: int) -> Room:
        fs = os.fstatvfs(self._directory)
        if fs.f_files and fs.f_favail < files + _KEPT_FILES:
            return Room(0, f"the tmpfs, which has inodes for {fs.f_favail} more files,")
        if not fs.f_blocks:
            return Room(sys.maxsize, "the tmpfs")
        return Room(fs.f_bavail * fs.f_frsize - _KEPT_BYTES, "the tmpfs")

    def _host(self) -> Room:
        available = meminfo().get("MemAvailable")
        left = sys.maxsize if available is None else available - self._headroom
        return Room(left, "the memory of this host")

    def _control_groups(self) -> list[Room]:
        """What the memory limits of our control group and of those above it leave."""
        return [
            Room(left - self._headroom, "the memory limit of the daemon's control group")
            for group in cgroup.memory_groups()
            if (left := cgroup.left(group)) is not None
        ]
