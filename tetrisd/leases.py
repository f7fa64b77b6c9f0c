"""Leases: who uses which model since when. The lock on the file says whether they still do."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import re
import secrets
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from tetris import shm
from tetris.errors import ConflictError, NoSpaceError, NotFoundError, TetrisError
from tetrisd import files, steps
from tetrisd.clock import Clock

log = logging.getLogger("tetrisd")

# A client has this long from the answer of Attach to its lock on the lease.
PENDING_SECONDS = 10
_ID = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Lease:
    """One attach.

    Attributes:
        made_ns: when it was written, since boot.
        pending: its lock was not taken yet when this was asked.
    """

    id: str
    fingerprint: bytes
    model: str
    pid: int
    command: str
    host: str
    since_unix_ns: int
    made_ns: int
    pending: bool = True


class Leases:
    """The lease files of a tenant.

    A lease is a small JSON file in ``leases/NAME/`` and a hard link to it in the tenant's view. The
    client holds it read-locked; it protects its whole manifest while it is locked or pending.

    Its access time starts at 0, and the client's ``mmap``, which follows its lock, moves it. So a
    lease whose holder died young is told from one whose lock is still to come. Where access times
    are not kept (a read-only or ``noatime`` mount) that takes the full pending time instead. Its
    time of change is when it was written, since boot.

    Args:
        dirfd: where the leases are.
        view: where their links are.
        clock: the two times.
        ended: told of every lease that ended, and whether its holder died holding it.

    Attributes:
        limit: how many may be open.
    """

    def __init__(
        self,
        dirfd: int,
        view: int,
        clock: Clock,
        ended: Callable[[Lease, bool], object] = lambda lease, died: None,
    ) -> None:
        self._dirfd = dirfd
        self._view = view
        self._clock = clock
        self._ended = ended
        self.limit = 0
        self._mutex = threading.Lock()
        self._leases: dict[str, Lease] = {}

    def create(self, fingerprint: bytes, model: str, pid: int, command: str, host: str) -> Lease:
        """Write a pending lease.

        Raises:
            NoSpaceError: too many are open, or the tmpfs is full.
        """
        if len(self._leases) >= self.limit and len(self.live()) >= self.limit:
            raise NoSpaceError(
                f"model {model}: {self.limit} leases are open, and no more may be: "
                "end processes that hold some, or raise max-leases"
            )
        lease = Lease(
            secrets.token_hex(8),
            fingerprint,
            model,
            pid,
            command,
            host,
            self._clock.wall_ns(),
            self._clock.boot_ns(),
        )
        files.write(self._dirfd, lease.id, _to_json(lease), 0o444, times_ns=(0, lease.made_ns))
        steps.reached("attach: lease written")
        try:
            with shm.calling("link lease", lease.id):
                os.link(
                    lease.id, f"{lease.id}.lease", src_dir_fd=self._dirfd, dst_dir_fd=self._view
                )
        except BaseException:
            os.unlink(lease.id, dir_fd=self._dirfd)
            raise
        steps.reached("attach: lease shown")
        with self._mutex:
            self._leases[lease.id] = lease
        return lease

    def release(self, lease: str) -> bool:
        """Remove a lease; False while somebody, a fork of the client for one, still holds it.

        Raises:
            NotFoundError: there is none of that name.
        """
        if not _ID.fullmatch(lease):
            raise NotFoundError(f"no lease {lease[:80]!r}")
        removed = self._remove(lease)
        if removed:
            self._forget(lease, died=False)
        return removed

    def live(self, fingerprint: bytes | None = None) -> list[Lease]:
        """Every lease, or every one of a model, that is held or pending, oldest first.

        The others are removed.
        """
        with self._mutex:
            known = list(self._leases.values())
        found = []
        for lease in known:
            if fingerprint in (None, lease.fingerprint):
                seen = self._look(lease)
                if seen is not None:
                    found.append(seen)
        return sorted(found, key=lambda lease: lease.made_ns)

    def load(self) -> None:
        """After a start: read the leases back, and remove what is half-written.

        A lease is shown last and hidden first: nobody can hold one that is not in the view.
        """
        files.sweep_drafts(self._dirfd)
        shown = {
            entry.name.removesuffix(".lease")
            for entry in files.entries(self._view)
            if entry.name.endswith(".lease")
        }
        kept = {e.name for e in files.entries(self._dirfd) if _ID.fullmatch(e.name)}
        for name in kept:
            lease = _from_json(name, self._dirfd)
            if lease is not None and name in shown:
                self._leases[name] = lease
            else:
                log.warning("lease %s is damaged, or was never shown: removed", name)
                with suppress(TetrisError):  # something else in its place
                    self._remove(name)
        for name in shown - kept:
            files.remove(self._view, f"{name}.lease")
            steps.reached("recover: dead lease link removed")
        steps.reached("recover: leases read")
        self.live()

    def strangers(self) -> list[str]:
        """Files among the leases that are no lease."""
        return [e.name for e in files.entries(self._dirfd) if not _ID.fullmatch(e.name)]

    def _look(self, lease: Lease) -> Lease | None:
        try:
            held = shm.is_referenced(self._dirfd, lease.id)
            # Between two looks somebody may have taken its lock.
            if held or self._is_pending(lease) or not self._remove(lease.id):
                return dataclasses.replace(lease, pending=not held)
        except (NotFoundError, FileNotFoundError):
            pass
        self._forget(lease.id, died=True)
        return None

    def _remove(self, lease: str) -> bool:
        try:
            with steps.of("release"), shm.claimed(self._dirfd, lease):
                steps.reached("release: claimed")
                files.remove(self._view, f"{lease}.lease")
                steps.reached("release: unlinked")
                files.remove(self._dirfd, lease)
        except ConflictError:
            return False
        return True

    def _is_pending(self, lease: Lease) -> bool:
        taken = os.stat(lease.id, dir_fd=self._dirfd, follow_symlinks=False).st_atime_ns != 0
        age = self._clock.boot_ns() - lease.made_ns
        return not taken and 0 <= age < PENDING_SECONDS * 1_000_000_000

    def _forget(self, lease: str, *, died: bool) -> None:
        with self._mutex:
            known = self._leases.pop(lease, None)
        if known is not None:
            self._ended(known, died)


def _to_json(lease: Lease) -> bytes:
    body = {
        "fingerprint": lease.fingerprint.hex(),
        "model": lease.model,
        "pid": lease.pid,
        "command": lease.command,
        "host": lease.host,
        "since_unix_ns": lease.since_unix_ns,
    }
    return json.dumps(body).encode() + b"\n"


def _from_json(name: str, dirfd: int) -> Lease | None:
    """A lease as its file says; None when that is damaged."""
    try:
        body = json.loads(files.read(dirfd, name))
        return Lease(
            name,
            bytes.fromhex(body["fingerprint"]),
            str(body["model"]),
            int(body["pid"]),
            str(body["command"]),
            str(body["host"]),
            int(body["since_unix_ns"]),
            os.stat(name, dir_fd=dirfd, follow_symlinks=False).st_mtime_ns,
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
