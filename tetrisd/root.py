"""The root: one directory on a tmpfs that is the whole state of a daemon.

::

    ROOT/
      version          layout of this directory
      lock             locked by the daemon that owns the root
      objects/         0700  every segment, named by its digest in hex
      tenants/NAME/          hard links to that tenant's segments and leases: what its clients see
      models/NAME/     0700  manifests, named by fingerprint in hex
      leases/          0700  lock files, one per attach

Files appear under their name only when they are complete: they are written under a name that starts
with a dot, and what still has such a name after a crash is swept at the next start.
"""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import ExitStack, suppress
from pathlib import Path

from tetris.errors import ConflictError, InvalidModelError, NotAllowedError, NotFoundError
from tetris.shm import check
from tetrisd.mount import gives_huge_pages, mount_of

LAYOUT = 1
TENANT = "default"


class Root:
    """An opened root, owned until :meth:`close`.

    Args:
        path: the directory; made when only it is missing.
        socket_mode: of the tenant's socket; who may open that may enter the view, and nobody else.

    Attributes:
        path: the directory.
        objects, view, models, leases: descriptors of its directories.
        view_path: the tenant's view, as clients are told.
        huge_pages: whether segments get huge pages here.

    Raises:
        NotFoundError: no such directory, and none could be made.
        NotAllowedError: somebody else's, or open to others' writing.
        InvalidModelError: not on a tmpfs, or of another layout.
        ConflictError: another daemon owns it.
    """

    def __init__(self, path: Path, socket_mode: int = 0o600) -> None:
        self.path = path.absolute()
        self.view_path = self.path / "tenants" / TENANT
        with ExitStack() as undo:
            top = self._open(undo)
            self._own(undo, top)
            self._check_layout(top)
            self._objects_and_all(undo, top, socket_mode)
            os.fchmod(top, 0o711)
            self._closing = undo.pop_all()

    def close(self) -> None:
        """Give the root up; everything stays for the next daemon."""
        self._closing.close()

    def capacity(self) -> int:
        """Size of the tmpfs in bytes; 0 when it has no limit."""
        fs = os.fstatvfs(self.objects)
        return fs.f_blocks * fs.f_frsize

    def _open(self, undo: ExitStack) -> int:
        try:
            with suppress(FileExistsError):
                self.path.mkdir(mode=0o700)
            top = _descriptor(undo, str(self.path))
        except FileNotFoundError:
            raise NotFoundError(f"root {self.path}: its parent directory does not exist") from None
        except OSError as failed:
            raise NotAllowedError(f"root {self.path}: {failed.strerror}") from None
        found = os.fstat(top)
        # The usual tmpfs is open to all: somebody may have made the directory before us.
        if found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise NotAllowedError(
                f"root {self.path} belongs to user {found.st_uid} with mode "
                f"{found.st_mode & 0o7777:o}: name one that this user alone may write to"
            )
        mount = mount_of(found.st_dev, str(self.path))
        if mount.kind != "tmpfs":
            raise InvalidModelError(
                f"root {self.path} is on {mount.kind}, and segments are shared memory: "
                "name a directory on a tmpfs"
            )
        self.huge_pages = gives_huge_pages(mount)
        return top

    def _own(self, undo: ExitStack, top: int) -> None:
        # O_CLOEXEC: a child that inherited the lock would keep the next daemon out.
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open("lock", flags, 0o600, dir_fd=top)
        undo.callback(os.close, fd)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.pread(fd, 64, 0).decode(errors="replace").strip() or "unknown"
            raise ConflictError(
                f"root {self.path} belongs to a running tetrisd (pid {owner}): "
                "stop it, or name another root"
            ) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)

    def _check_layout(self, top: int) -> None:
        if "version" not in os.listdir(top):
            write_file(top, "version", f"{LAYOUT}\n".encode(), 0o644)
        fd = os.open("version", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top)
        with os.fdopen(fd, "rb") as file:
            found = file.read(64).decode(errors="replace").strip()
        if found != str(LAYOUT):
            raise InvalidModelError(
                f"root {self.path} has layout {found}, this tetrisd knows {LAYOUT}: "
                "name another root, or run the version that wrote it"
            )

    def _objects_and_all(self, undo: ExitStack, top: int, socket_mode: int) -> None:
        self.objects = _directory(undo, top, "objects", 0o700)
        tenants = _directory(undo, top, "tenants", 0o711)
        self.view = _directory(undo, tenants, TENANT, readable(socket_mode))
        models = _directory(undo, top, "models", 0o700)
        self.models = _directory(undo, models, TENANT, 0o700)
        self.leases = _directory(undo, top, "leases", 0o700)


def readable(socket_mode: int) -> int:
    """The mode of a directory that exactly those may read who may open a socket of that mode."""
    group = 0o050 if socket_mode & 0o060 == 0o060 else 0
    return 0o700 | group | (0o005 if socket_mode & 0o006 == 0o006 else 0)


def _directory(undo: ExitStack, parent: int, name: str, mode: int) -> int:
    with suppress(FileExistsError):
        os.mkdir(name, mode, dir_fd=parent)
    try:
        fd = _descriptor(undo, name, parent)
    except OSError as failed:
        raise NotAllowedError(f"{name} in the root: {failed.strerror}") from None
    os.fchmod(fd, mode)
    return fd


def _descriptor(undo: ExitStack, name: str, parent: int | None = None) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, dir_fd=parent)
    undo.callback(os.close, fd)
    return fd


def write_file(
    dirfd: int, name: str, data: bytes, mode: int, *, times_ns: tuple[int, int] | None = None
) -> None:
    """Write ``name``, with ``times_ns`` of access and change, so that it is complete or not there.

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
                out.flush()
                if times_ns is not None:
                    os.utime(fd, ns=times_ns)
            os.rename(draft, name, src_dir_fd=dirfd, dst_dir_fd=dirfd)
        except BaseException:
            os.unlink(draft, dir_fd=dirfd)
            raise
    except OSError as failed:
        check(-(failed.errno or errno.EIO), "write", name)
