"""What the files of a root say, as far as this user may read them; no daemon is asked."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tetris.errors import InvalidModelError, NotFoundError
from tetris.manifest import Manifest
from tetris.settings import socket_path
from tetris.wire import manifest_from_file, manifest_from_wire

DEFAULT_ROOT = Path("/dev/shm/tetris")  # noqa: S108
# In the quarantine a number follows.
SEGMENT = re.compile(r"([0-9a-f]{64})(?:\.[0-9a-f]{8})?")
# Of a manifest: 50,000 tensors with long names, and 16 MiB of strings.
_LONGEST = 64 << 20
LEASE = re.compile(r"([0-9a-f]{16})(?:\.lease)?")


def root_path(given: str | None = None, socket: str | None = None) -> Path:
    """The root: the argument, else ``TETRIS_ROOT``, else the default where it is there.

    A container has a view instead, which serves as well: ``TETRIS_VIEW``, or what is mounted where
    the socket is.
    """
    if named := given or os.environ.get("TETRIS_ROOT"):
        return Path(named)
    beside = socket_path(socket).parent
    views = (os.environ.get("TETRIS_VIEW"), str(beside) if os.path.ismount(beside) else None)
    found = (DEFAULT_ROOT, *(Path(view) for view in views if view))
    return next((path for path in found if os.path.exists(path)), DEFAULT_ROOT)


@dataclass(frozen=True, slots=True)
class Resident:
    """The files of a root or of a view.

    Attributes:
        device: of the tmpfs.
        segments: digest, by inode.
        leases: path, by inode.
        manifests: by tenant and fingerprint in hex; none for who may not read them.
    """

    root: Path
    device: int
    segments: dict[int, bytes] = field(default_factory=dict)
    leases: dict[int, Path] = field(default_factory=dict)
    manifests: dict[tuple[str, str], Manifest] = field(default_factory=dict)

    def read(self) -> Resident:
        """Look at the files now."""
        for directory in self.directories():
            for entry in _entries(directory, self.device):
                if segment := SEGMENT.fullmatch(entry.name):
                    self.segments[entry.inode()] = bytes.fromhex(segment[1])
                elif LEASE.fullmatch(entry.name):
                    self.leases[entry.inode()] = Path(entry.path)
        for tenant in _entries(self.root / "models"):
            for entry in _entries(tenant.path):
                with suppress(OSError, InvalidModelError):
                    manifest = manifest_from_wire(manifest_from_file(_read(entry.path), entry.name))
                    self.manifests[tenant.name, entry.name] = manifest
        return self

    def lease(self, inode: int) -> tuple[str, str, str] | None:
        """Tenant, fingerprint and model of a lease; None when it is gone or damaged.

        Ask for one that somebody maps only: being read moves the access time, from which the
        daemon tells a lease whose holder is still to come.
        """
        path = self.leases[inode]
        try:
            body = json.loads(_read(path))
            # A view that is mounted alone has a directory name of no meaning.
            tenant = path.parent.name if path.parent.parent != self.root.parent else ""
            return tenant, str(body["fingerprint"]), str(body["model"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def directories(self) -> Iterator[str]:
        """Where segments and leases may be."""
        yield str(self.root)
        yield str(self.root / "quarantine")
        for parent in ("objects", "tenants", "leases"):
            yield from (entry.path for entry in _entries(self.root / parent))
        # Who may pass through the directory of all tenants, and not list it, knows its own.
        if not os.access(self.root / "tenants", os.R_OK):
            yield str(self.root / "tenants" / "default")
        if view := os.environ.get("TETRIS_VIEW"):
            yield view


def resident(root: Path) -> Resident:
    """A root or view, still unread.

    Raises:
        NotFoundError: there is none.
    """
    try:
        return Resident(root, os.stat(root).st_dev)
    except OSError as failed:
        raise NotFoundError(
            f"no segments at {root} ({failed.strerror}): "
            "name the daemon's root, or a view, with --root"
        ) from None


def _entries(directory: str | Path, device: int | None = None) -> list[os.DirEntry[str]]:
    """What a directory holds; nothing when it may not be read, is none, or on another device."""
    with suppress(OSError), os.scandir(directory) as found:
        if device in (None, os.stat(directory).st_dev):
            return list(found)
    return []


def _read(path: str | Path) -> bytes:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        fd = os.open(path, flags | os.O_NOATIME)
    except PermissionError:
        fd = os.open(path, flags)  # somebody else's file
    with os.fdopen(fd, "rb") as file:
        found = os.fstat(fd)
        # Somebody else's root may hold anything, and what has no end would take all the memory.
        if not stat.S_ISREG(found.st_mode) or found.st_size > _LONGEST:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), os.fspath(path))
        return file.read()
