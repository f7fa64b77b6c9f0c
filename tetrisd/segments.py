"""The segments of a root: reserved, filled, sealed, held, removed.

Nothing here knows what a model is. A segment that somebody relies on is *held*: mapped, and so
referenced, which keeps every remover away (see :mod:`tetris.shm`).
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

from tetris import shm
from tetris.errors import ConflictError, NotFoundError
from tetrisd.root import Root

# Kept back from segments: a full store must still be able to write a lease.
_KEPT_BYTES = 256 << 10
_KEPT_FILES = 64
# From here on a second thread makes the pages present ahead of the one that fills them: getting and
# clearing fresh memory is otherwise a fifth of a publish, and more than half under a hypervisor.
_LARGE = 32 << 20
_NAME = re.compile(r"[0-9a-f]{64}")


class Draft:
    """A segment being written, under a hidden name; discarded unless it is sealed."""

    def __init__(self, dirfd: int, nbytes: int) -> None:
        self._dirfd = dirfd
        self._hidden = f".{secrets.token_hex(16)}"
        self.nbytes = nbytes
        self.sum = shm.Sum()
        self._memory: shm.Mapping | None = shm.reserve(dirfd, self._hidden, nbytes)
        self._populating: threading.Thread | None = None
        if nbytes >= _LARGE:
            self._populating = threading.Thread(target=self._memory.populate, name="populate")
            self._populating.start()

    @property
    def memory(self) -> shm.Mapping:
        """Where its bytes go; until it is sealed or discarded."""
        assert self._memory is not None
        return self._memory

    def seal(self, digest: bytes) -> bool:
        """Make it visible as ``digest``, unmapped; False when that is resident already."""
        self._unmap()
        return shm.seal(self._dirfd, self._hidden, digest.hex())

    def discard(self) -> None:
        """Give its room back, unless it was sealed."""
        self._unmap()
        with suppress(FileNotFoundError):
            os.unlink(self._hidden, dir_fd=self._dirfd)

    def _unmap(self) -> None:
        if self._populating is not None:
            self._populating.join()
            self._populating = None
        self._memory = None


class Segments:
    """Every segment of a root, and the links to them in the tenant's view."""

    def __init__(self, root: Root) -> None:
        self._objects = root.objects
        self._view = root.view

    def draft(self, nbytes: int) -> Draft:
        """Room for a new segment.

        Raises:
            NoSpaceError: the tmpfs is full.
        """
        return Draft(self._objects, nbytes)

    def hold(self, digest: bytes, nbytes: int) -> shm.Mapping | None:
        """A reference to a resident segment; None when there is none of that digest and size."""
        with suppress(NotFoundError):
            return shm.map_segment(self._objects, digest.hex(), nbytes)
        return None

    def show(self, digest: bytes) -> None:
        """Link it into the tenant's view."""
        name = digest.hex()
        try:
            os.link(name, name, src_dir_fd=self._objects, dst_dir_fd=self._view)
        except FileExistsError:
            pass
        except OSError as failed:
            shm.check(-(failed.errno or errno.EIO), "link", name)

    def is_referenced(self, digest: bytes) -> bool:
        """Whether anybody maps it now."""
        with suppress(NotFoundError):
            return shm.is_referenced(self._objects, digest.hex())
        return False

    def remove(self, digest: bytes, unless: Callable[[bytes], int] = lambda _: 0) -> bool:
        """Remove it unless somebody maps it. The view's link goes first, the object last.

        Args:
            digest: which.
            unless: asked while no reference can be taken; anything but 0 keeps the segment.
        """
        name = digest.hex()
        try:
            with shm.claimed(self._objects, name):
                if unless(digest):
                    return False
                for dirfd in (self._view, self._objects):
                    with suppress(FileNotFoundError):
                        os.unlink(name, dir_fd=dirfd)
        except (ConflictError, NotFoundError):
            return False
        return True

    def room(self, files: int) -> int:
        """Free bytes for ``files`` new segments; what leases and manifests need is kept back."""
        fs = os.fstatvfs(self._objects)
        if fs.f_files and fs.f_favail < files + _KEPT_FILES:
            return 0
        return max(0, fs.f_bavail * fs.f_frsize - _KEPT_BYTES) if fs.f_blocks else sys.maxsize

    def resident(self) -> Iterator[tuple[bytes, int]]:
        """Digest and size of every segment, from the directory itself."""
        with os.scandir(self._objects) as found:
            for entry in found:
                if _NAME.fullmatch(entry.name):
                    yield bytes.fromhex(entry.name), entry.stat().st_size

    def sweep(self, wanted: dict[bytes, int]) -> tuple[int, int]:
        """After a start: remove drafts, segments that no model names, and links to nothing; put
        back links that are missing.

        Returns:
            How many drafts and how many segments went.
        """
        drafts = [n for n in os.listdir(self._objects) if n.startswith(".")]
        for name in drafts:
            os.unlink(name, dir_fd=self._objects)
        stray = [d for d, _ in self.resident() if d not in wanted]
        removed = sum(self.remove(digest) for digest in stray)
        objects = set(os.listdir(self._objects))
        for name in os.listdir(self._view):
            if _NAME.fullmatch(name) and name not in objects:
                os.unlink(name, dir_fd=self._view)
        for digest in wanted:
            self.show(digest)
        return len(drafts), removed
