"""The root: one directory on a tmpfs that is the whole state of a daemon.

::

    ROOT/
      version          layout of this directory
      lock             locked by the daemon that owns the root
      objects/         0700  every segment, named by its digest in hex
      tenants/NAME/    0755  hard links to that tenant's segments and leases: what its clients see
      models/NAME/     0700  manifests, named by fingerprint in hex
      leases/          0700  lock files, one per attach

Files appear under their name only when they are complete: they are written under a name that starts
with a dot, and what still has such a name after a crash is swept at the next start.
"""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from tetris.errors import ConflictError, InvalidModelError, NotAllowedError, NotFoundError
from tetris.shm import check
from tetrisd.mount import gives_huge_pages, mount_of

LAYOUT = 1
TENANT = "default"


class Root:
    """An opened root, owned until :meth:`close`.

    Attributes:
        path: the directory.
        objects, view, models, leases: descriptors of its directories.
        view_path: the tenant's view, as clients are told.
        huge_pages: whether segments get huge pages here.

    Raises:
        NotFoundError: no such directory, and none could be made.
        InvalidModelError: not on a tmpfs, or of another layout.
        ConflictError: another daemon owns it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        try:
            self.path.mkdir(mode=0o755, exist_ok=True)
        except FileNotFoundError:
            raise NotFoundError(f"root {path}: its parent directory does not exist") from None
        except OSError as failed:
            raise NotAllowedError(f"root {path}: {failed.strerror}") from None
        mount = mount_of(self.path)
        if mount.kind != "tmpfs":
            raise InvalidModelError(
                f"root {path} is on {mount.kind}, and segments are shared memory: "
                "name a directory on a tmpfs"
            )
        self.huge_pages = gives_huge_pages(mount)
        self._lock = self._own()
        self._check_layout()
        self.view_path = self.path / "tenants" / TENANT
        self.objects = self._directory("objects", 0o700)
        self._directory("tenants", 0o755, close=True)
        self.view = self._directory(f"tenants/{TENANT}", 0o755)
        self._directory("models", 0o700, close=True)
        self.models = self._directory(f"models/{TENANT}", 0o700)
        self.leases = self._directory("leases", 0o700)

    def close(self) -> None:
        """Give the root up; everything stays for the next daemon."""
        for fd in (self.objects, self.view, self.models, self.leases, self._lock):
            os.close(fd)

    def capacity(self) -> int:
        """Size of the tmpfs in bytes; 0 when it has no limit."""
        fs = os.fstatvfs(self.objects)
        return fs.f_blocks * fs.f_frsize

    def _own(self) -> int:
        # O_CLOEXEC: a child that inherited the lock would keep the next daemon out.
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(self.path / "lock", flags, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.pread(fd, 64, 0).decode(errors="replace").strip() or "unknown"
            os.close(fd)
            raise ConflictError(
                f"root {self.path} belongs to a running tetrisd (pid {owner}): "
                "stop it, or name another root"
            ) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        return fd

    def _check_layout(self) -> None:
        version = self.path / "version"
        if not version.exists():
            draft = self.path / ".version"
            draft.write_text(f"{LAYOUT}\n")
            draft.rename(version)
        found = version.read_text().strip()
        if found != str(LAYOUT):
            os.close(self._lock)
            raise InvalidModelError(
                f"root {self.path} has layout {found}, this tetrisd knows {LAYOUT}: "
                "name another root, or the version that wrote it"
            )

    def _directory(self, name: str, mode: int, *, close: bool = False) -> int:
        path = self.path / name
        path.mkdir(exist_ok=True)
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        os.fchmod(fd, mode)
        if close:
            os.close(fd)
        return fd


def write_file(dirfd: int, name: str, data: bytes, mode: int) -> None:
    """Write ``name`` so that it is either complete or not there.

    Raises:
        NoSpaceError: the tmpfs is full. Nothing is left.
    """
    draft = f".{name}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        fd = os.open(draft, flags, 0o600, dir_fd=dirfd)
        try:
            with os.fdopen(fd, "wb") as out:
                out.write(data)
                os.fchmod(fd, mode)
            os.rename(draft, name, src_dir_fd=dirfd, dst_dir_fd=dirfd)
        except BaseException:
            os.unlink(draft, dir_fd=dirfd)
            raise
    except OSError as failed:
        check(-(failed.errno or errno.EIO), "write", name)
