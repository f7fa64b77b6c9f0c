"""Verification: what is stored, compared with what it must be, file by file and byte by byte."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from tetris import shm
from tetris.errors import TetrisError
from tetrisd import files
from tetrisd.segments import Segments
from tetrisd.tenant import Tenant

# Bytes read between two breaths.
_STEP = 8 << 20

Pace = Callable[[int], None]


def unhurried(nbytes: int) -> None:
    """No pace: as fast as it goes."""


class Finding(NamedTuple):
    """Something that is not as it must be: a file below the root, and what was done about it."""

    subject: str
    fault: str


class Checked(NamedTuple):
    """How far a verification is, in bytes, and what it found since it said so last."""

    done: int
    total: int
    findings: list[Finding]


class Verifier:
    """Compares a root's files with what the daemon knows, mends what it can, and tells the rest.

    Args:
        quarantine: takes a segment out that must not be served, and says why.
        pace: called with the number of bytes before they are read.
    """

    def __init__(
        self, quarantine: Callable[[Segments, bytes, str], None], pace: Pace = unhurried
    ) -> None:
        self._quarantine = quarantine
        self._pace = pace

    def files(self, pools: Sequence[Segments], tenants: Sequence[Tenant]) -> Iterator[Checked]:
        """Names, kinds, sizes, modes and links; no segment is read."""
        for pool in pools:
            yield Checked(0, 0, list(self._objects(pool)))
        for tenant in tenants:
            yield Checked(0, 0, [Finding(*found) for found in tenant.mend()])

    def segments(self, wanted: Sequence[tuple[Segments, dict[bytes, int]]]) -> Iterator[Checked]:
        """Every byte of the segments of ``wanted``, which gives the size of each by pool."""
        total = sum(sum(segments.values()) for _, segments in wanted)
        done = 0
        for pool, segments in wanted:
            for digest, nbytes in segments.items():
                fault = self._bytes(pool, digest, nbytes)
                done += nbytes
                yield Checked(done, total, [self._damaged(pool, digest, fault)] if fault else [])

    def _objects(self, pool: Segments) -> Iterator[Finding]:
        found = dict(pool.files())
        for digest, nbytes in pool.index.segments().items():
            name = digest.hex()
            if _fault(found.pop(name, None), nbytes):
                # Asked again: a publish or an eviction may have come between the two lists.
                fault = _fault(pool.status(digest), nbytes)
                if fault and pool.index.users(digest):
                    yield self._damaged(pool, digest, fault)
        for name, status in found.items():
            if not files.HEX.fullmatch(name) or not stat.S_ISREG(status.st_mode):
                yield Finding(f"objects/{pool.name}/{name}", "is not ours: left alone")

    def _bytes(self, pool: Segments, digest: bytes, nbytes: int) -> str:
        """What is wrong with the bytes of a segment; empty when nothing is."""
        try:
            fd = pool.open(digest)
        except OSError as failed:
            # One that was evicted has no users, or is there again.
            gone = pool.status(digest) is None
            if isinstance(failed, FileNotFoundError) and not (gone and pool.index.users(digest)):
                return ""
            return f"cannot be opened: {failed.strerror}"
        try:
            total = shm.Sum()
            for start in range(0, nbytes, _STEP):
                step = min(_STEP, nbytes - start)
                self._pace(step)
                total.skim(fd, start, step, digest.hex())
            return "" if total.result()[0] == digest else "has other bytes than its name says"
        except TetrisError as failed:
            return str(failed)
        finally:
            os.close(fd)

    def _damaged(self, pool: Segments, digest: bytes, fault: str) -> Finding:
        self._quarantine(pool, digest, fault)
        return Finding(
            f"objects/{pool.name}/{digest.hex()}",
            f"{fault}: taken out, and the models that name it with it",
        )


def _fault(found: os.stat_result | None, nbytes: int) -> str:
    """What makes a segment's file unfit to be served, as far as its status tells."""
    if found is None:
        return "is gone"
    if not stat.S_ISREG(found.st_mode):
        return "is no regular file"
    if found.st_uid != os.geteuid():
        return f"belongs to user {found.st_uid}"
    # The owner's write bit is set for a moment by every removal.
    if found.st_mode & 0o022:
        return f"has mode {stat.S_IMODE(found.st_mode):o}: others may have written to it"
    if found.st_size != nbytes:
        return f"has {found.st_size} bytes instead of {nbytes}"
    return ""
