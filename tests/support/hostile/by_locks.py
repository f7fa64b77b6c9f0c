"""Attacks by what the kernel keeps for a file: locks and file leases."""

from __future__ import annotations

import fcntl
import os
import signal
import struct
from collections.abc import Iterator

F_OFD_SETLK = 37


def _open(view: str, name: str) -> int:
    return os.open(f"{view}/{name}", os.O_RDONLY)


def _lock(kind: int, start: int = 0, length: int = 0) -> bytes:
    return struct.pack("hhqqi4x", kind, os.SEEK_SET, start, length, 0)


def take_an_ofd_write_lock(view: str, run: str, name: str) -> None:
    fcntl.fcntl(_open(view, name), F_OFD_SETLK, _lock(fcntl.F_WRLCK))


def take_a_posix_write_lock(view: str, run: str, name: str) -> None:
    fcntl.fcntl(_open(view, name), fcntl.F_SETLK, _lock(fcntl.F_WRLCK))


def hold_an_exclusive_flock(view: str, run: str, *names: str) -> Iterator[int]:
    """The kernel allows it on a descriptor that cannot write."""
    held = [_open(view, name) for name in names]
    for fd in held:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    yield len(held)


def hold_an_exclusive_flock_on_directories(view: str, run: str) -> Iterator[int]:
    held = [os.open(path, os.O_RDONLY) for path in (view, run)]
    for fd in held:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    yield len(held)


def hold_many_read_locks(view: str, run: str, name: str, number: int) -> Iterator[int]:
    """Ranges of a byte with gaps between them, which the kernel cannot merge."""
    fd = _open(view, name)
    for index in range(number):
        fcntl.fcntl(fd, F_OFD_SETLK, _lock(fcntl.F_RDLCK, 2 * index, 1))
    yield number


def hold_a_read_lease(view: str, run: str, name: str) -> Iterator[int]:
    """A file lease: whoever opens the file for writing is kept until it is given up."""
    yield _lease(_open(view, name), fcntl.F_RDLCK)


def hold_a_write_lease(view: str, run: str, name: str) -> Iterator[int]:
    """The same for whoever opens it at all."""
    yield _lease(_open(view, name), fcntl.F_WRLCK)


def _lease(fd: int, kind: int) -> int:
    signal.signal(signal.SIGIO, signal.SIG_IGN)  # that somebody waits is nothing to it
    fcntl.fcntl(fd, fcntl.F_SETLEASE, kind)
    return kind
