"""The root: one directory on a tmpfs that is the whole state of a daemon.

::

    ROOT/
      version             layout of this directory
      lock                locked by the daemon that owns the root
      objects/            0700
        _shared/          every segment of the tenants that share, named by its digest in hex
        NAME/             those of a tenant that shares with nobody
      tenants/NAME/             hard links to its segments and leases, and a socket: all that
                                its clients see
      models/NAME/        0700  manifests, named by fingerprint in hex
      leases/NAME/        0700  lock files, one per attach
      quarantine/         0700  segments whose bytes were found damaged

Files appear under their name only when they are complete: they are written under a name that starts
with a dot, and what still has such a name after a crash is swept at the next start.
"""

from __future__ import annotations

import fcntl
import grp
import os
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from tetris.errors import ConflictError, InvalidModelError, NotAllowedError, NotFoundError
from tetrisd import files, layout, steps
from tetrisd.mount import gives_huge_pages, mount_of
from tetrisd.settings import TenantSettings

SHARED = "_shared"


@dataclass(frozen=True, slots=True)
class Place:
    """One tenant's directories.

    Attributes:
        view, models, leases: descriptors.
        view_path: as clients are told.
        huge_pages: whether segments get them.
    """

    view: int
    models: int
    leases: int
    view_path: Path
    huge_pages: bool


class Root:
    """An opened root, owned until :meth:`close`.

    Attributes:
        path: the directory.
        quarantine: descriptor of that directory.
        huge_pages: whether segments get huge pages here.

    Raises:
        NotFoundError: no such directory, and none could be made.
        NotAllowedError: somebody else's, or open to others' writing.
        InvalidModelError: not on a tmpfs, or of a layout that this daemon does not know.
        ConflictError: another daemon owns it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        with ExitStack() as undo:
            top = self._open(undo)
            steps.reached("start: root opened")
            self._own(undo, top)
            steps.reached("start: root locked")
            layout.bring_up_to_date(top, str(self.path))
            steps.reached("start: layout checked")
            self._objects = files.directory(undo, top, "objects", 0o700)
            self._tenants = files.directory(undo, top, "tenants", 0o711)
            self._models = files.directory(undo, top, "models", 0o700)
            self._leases = files.directory(undo, top, "leases", 0o700)
            self.quarantine = files.directory(undo, top, "quarantine", 0o700)
            os.fchmod(top, 0o711)
            steps.reached("start: directories opened")
            self._closing = undo.pop_all()

    def close(self) -> None:
        """Give the root up; everything stays for the next daemon."""
        self._closing.close()

    def tenant(self, name: str, socket_mode: int, group: str = "") -> Place:
        """The directories of a tenant, made when they are missing.

        Args:
            name: the tenant's.
            socket_mode: who may open that socket may enter the view, and nobody else.
            group: that the view belongs to; the daemon's own without one.
        """
        undo = self._closing
        view = files.directory(undo, self._tenants, name, readable(socket_mode))
        if group:
            give_to_group(view, group)
        return Place(
            view,
            files.directory(undo, self._models, name, 0o700),
            files.directory(undo, self._leases, name, 0o700),
            self.path / "tenants" / name,
            self.huge_pages,
        )

    def pool(self, name: str) -> int:
        """The directory of the segments of pool ``name``, made when it is missing."""
        return files.directory(self._closing, self._objects, name, 0o700)

    def pools(self) -> set[str]:
        """Every pool that an earlier daemon left."""
        return _directories(self._objects)

    def tenants(self) -> set[str]:
        """Every tenant that an earlier daemon left."""
        return _directories(self._models) | _directories(self._tenants)

    def forget(self, tenant: str) -> bool:
        """Remove a tenant's directories; False when they are not empty yet."""
        with suppress(OSError):  # of a daemon that crashed: nobody listens on it
            os.unlink(f"{tenant}/{files.VIEW_SOCKET}", dir_fd=self._tenants)
        try:
            for parent in (self._leases, self._models, self._tenants):
                os.rmdir(tenant, dir_fd=parent)
        except OSError:
            return False
        return True

    def _open(self, undo: ExitStack) -> int:
        try:
            with suppress(FileExistsError):
                self.path.mkdir(mode=0o700)
            top = files.descriptor(undo, str(self.path))
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
        try:
            fd = os.open("lock", flags, 0o600, dir_fd=top)
        except OSError as failed:
            raise NotAllowedError(
                f"root {self.path}: {failed.strerror}: mount it writable, or name another root"
            ) from None
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


def pool_of(tenant: TenantSettings) -> str:
    """Name of the pool that a tenant's segments are in."""
    return SHARED if tenant.sharing == "host" else tenant.name


def readable(socket_mode: int) -> int:
    """The mode of a directory that exactly those may read who may open a socket of that mode."""
    group = 0o050 if socket_mode & 0o060 == 0o060 else 0
    return 0o700 | group | (0o005 if socket_mode & 0o006 == 0o006 else 0)


def give_to_group(file: int | Path, group: str) -> None:
    """Change the group of a file.

    Raises:
        NotFoundError: there is no such group.
        NotAllowedError: the daemon's user is not in it.
    """
    try:
        number = int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
        os.chown(file, -1, number)
    except KeyError:
        raise NotFoundError(f"group {group!r} does not exist on this host") from None
    except OSError as failed:
        raise NotAllowedError(
            f"group {group!r} cannot be given to {file}: {failed.strerror}; "
            "the daemon's user must be in it"
        ) from None


def _directories(parent: int) -> set[str]:
    return {e.name for e in files.entries(parent) if e.is_dir(follow_symlinks=False)}
