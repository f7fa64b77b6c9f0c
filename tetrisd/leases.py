"""Leases: who uses which model since when. The lock on the file says whether they still do."""

from __future__ import annotations

import errno
import json
import logging
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from tetris import shm
from tetris.errors import ConflictError, NotFoundError
from tetrisd.root import Root, write_file

log = logging.getLogger("tetrisd")

# A client has this long from the answer of Attach to its lock on the lease.
PENDING_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Lease:
    """One attach.

    Attributes:
        pending: written, and its lock not taken yet.
    """

    id: str
    fingerprint: bytes
    model: str
    pid: int
    command: str
    host: str
    since_unix_ns: int
    pending: bool = False


class Leases:
    """The lease files of a root.

    A lease is a small JSON file in ``leases/`` and a hard link to it in the tenant's view. The
    client holds it read-locked; it protects its whole manifest while it is locked or pending.

    Its access time starts at 0, and the client's ``mmap``, which follows its lock, moves it. So a
    lease whose holder died young is told from one whose lock is still to come. Where access times
    are not kept (a read-only or ``noatime`` mount) that takes the full pending time instead.
    """

    def __init__(self, root: Root, now_ns: Callable[[], int]) -> None:
        self._dirfd = root.leases
        self._view = root.view
        self._now_ns = now_ns

    def create(self, fingerprint: bytes, model: str, pid: int, command: str, host: str) -> Lease:
        """Write a pending lease."""
        lease = Lease(
            secrets.token_hex(8), fingerprint, model, pid, command, host, self._now_ns(), True
        )
        body = {
            "fingerprint": fingerprint.hex(),
            "model": model,
            "pid": pid,
            "command": command,
            "host": host,
            "since_unix_ns": lease.since_unix_ns,
        }
        text = json.dumps(body).encode() + b"\n"
        write_file(self._dirfd, lease.id, text, 0o444, times_ns=(0, lease.since_unix_ns))
        try:
            os.link(lease.id, f"{lease.id}.lease", src_dir_fd=self._dirfd, dst_dir_fd=self._view)
        except OSError as failed:
            os.unlink(lease.id, dir_fd=self._dirfd)
            shm.check(-(failed.errno or errno.EIO), "link lease", lease.id)
        return lease

    def release(self, lease: str) -> bool:
        """Remove a lease; False while somebody, a fork of the client for one, still holds it.

        Raises:
            NotFoundError: there is none of that name.
        """
        if not lease.isalnum():
            raise NotFoundError(f"no lease {lease!r}")
        try:
            with shm.claimed(self._dirfd, lease):
                for name, dirfd in ((f"{lease}.lease", self._view), (lease, self._dirfd)):
                    with suppress(FileNotFoundError):
                        os.unlink(name, dir_fd=dirfd)
        except ConflictError:
            return False
        return True

    def live(self) -> list[Lease]:
        """Every lease that is held or pending, oldest first; the others are removed."""
        found = []
        for name in os.listdir(self._dirfd):
            with suppress(NotFoundError, FileNotFoundError):
                lease = self._look(name)
                if lease is not None:
                    found.append(lease)
        return sorted(found, key=lambda lease: lease.since_unix_ns)

    def sweep(self) -> None:
        """After a start: remove half-written leases, and links to leases that are gone."""
        names = set(os.listdir(self._dirfd))
        for name in names:
            if name.startswith("."):
                os.unlink(name, dir_fd=self._dirfd)
        for link in os.listdir(self._view):
            stem, dot, kind = link.rpartition(".")
            if dot and kind == "lease" and stem not in names:
                os.unlink(link, dir_fd=self._view)
        self.live()

    def _look(self, name: str) -> Lease | None:
        if name.startswith("."):
            return None
        held = shm.is_referenced(self._dirfd, name)
        lease = self._read(name, pending=not held)
        if lease is not None:
            age = self._now_ns() - lease.since_unix_ns
            taken = os.stat(name, dir_fd=self._dirfd).st_atime_ns != 0
            if held or (not taken and age < PENDING_SECONDS * 1_000_000_000):
                return lease
        if not self.release(name):
            return lease  # somebody took its lock between the two looks
        if lease is not None:
            log.info("lease %s of pid %d on %s ended", lease.id, lease.pid, lease.model)
        return None

    def _read(self, name: str, *, pending: bool) -> Lease | None:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOATIME
        fd = os.open(name, flags, dir_fd=self._dirfd)
        with os.fdopen(fd, "rb") as file:
            try:
                body = json.load(file)
                return Lease(
                    name,
                    bytes.fromhex(body["fingerprint"]),
                    str(body["model"]),
                    int(body["pid"]),
                    str(body["command"]),
                    str(body["host"]),
                    int(body["since_unix_ns"]),
                    pending,
                )
            except (ValueError, KeyError, TypeError):
                return None
