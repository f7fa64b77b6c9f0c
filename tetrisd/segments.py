"""The segments of a pool: reserved, filled, sealed, held, settled.

Nothing here knows what a model is. A segment that somebody relies on is *held*: mapped, and so
referenced, which keeps every remover away (see :mod:`tetris.shm`). One that may have lost its last
user is *settled*: its links are brought in line with who names it, unless somebody maps it.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from tetris import shm
from tetris.errors import ConflictError, NotFoundError, TetrisError
from tetrisd import files, steps
from tetrisd.index import Index

log = logging.getLogger("tetrisd")

# From here on a second thread makes the pages present ahead of the one that fills them: getting and
# clearing fresh memory is otherwise a fifth of a publish, and more than half under a hypervisor.
_LARGE = 32 << 20


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

    def seal(self, digest: bytes) -> shm.Mapping | None:
        """Make it visible as ``digest``; None when that is resident already.

        Returns:
            A reference, taken before anybody could see it and remove it.
        """
        self._unmap()
        reference = shm.map_segment(self._dirfd, self._hidden, self.nbytes)
        sealed = shm.seal(self._dirfd, self._hidden, digest.hex())
        steps.reached("publish: sealed")
        return reference if sealed else None

    def discard(self) -> None:
        """Give its room back, unless it was sealed."""
        self._unmap()
        files.remove(self._dirfd, self._hidden)

    def _unmap(self) -> None:
        if self._populating is not None:
            self._populating.join()
            self._populating = None
        self._memory = None


@dataclass(frozen=True, slots=True)
class Member:
    """A tenant of a pool, as its segments see it.

    Attributes:
        view: descriptor of the directory of its links.
        index: what its models name.
    """

    view: int
    index: Index


class Segments:
    """A pool: segments, and the links to them in the views of the tenants that share it.

    Attributes:
        index: what the models of all these tenants name.
        whole: held while a segment is taken out, and while a model that may name it is published.
        lingering: segments that somebody still mapped when they were to be settled.
        quarantines: how often a segment has been taken out for being damaged.
    """

    def __init__(self, name: str, objects: int, quarantine: int) -> None:
        self.name = name
        self.index = Index()
        self._objects = objects
        self._quarantine = quarantine
        self._members: list[Member] = []
        self.lingering: set[bytes] = set()
        self.quarantines = 0
        self.whole = threading.Lock()

    def join(self, member: Member) -> None:
        """Take a tenant into the pool."""
        self._members.append(member)

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

    def show(self, digest: bytes, view: int) -> None:
        """Link it into a tenant's view.

        Raises:
            NotFoundError: it is not resident.
            NoSpaceError: the tmpfs has no room for a name.
        """
        name = digest.hex()
        with shm.calling("link", name), suppress(FileExistsError):
            os.link(name, name, src_dir_fd=self._objects, dst_dir_fd=view)

    def open(self, digest: bytes) -> int:
        """A descriptor to read it by, without a reference.

        Raises:
            OSError: there is none, or a link is in its place.
        """
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        return os.open(digest.hex(), flags, dir_fd=self._objects)

    def status(self, digest: bytes) -> os.stat_result | None:
        """What ``lstat`` says of it; None when it is not there."""
        with suppress(FileNotFoundError):
            return os.stat(digest.hex(), dir_fd=self._objects, follow_symlinks=False)
        return None

    def is_referenced(self, digest: bytes) -> bool:
        """Whether anybody maps it now."""
        with suppress(NotFoundError):
            return shm.is_referenced(self._objects, digest.hex())
        return False

    def settle(self, digest: bytes) -> int:
        """Remove the links of those that do not name it, and the segment if nobody does.

        Not while somebody maps it: then it lingers, and this is to be tried again. Links go first
        and the object last, so that a crash in between leaves nothing that is not found again.

        Returns:
            Bytes that this gave back.
        """
        name = digest.hex()
        try:
            with steps.of("settle"), shm.claimed(self._objects, name):
                steps.reached("settle: claimed")
                freed = self._unlink(digest, name)
        except NotFoundError:
            freed = 0
        except (TetrisError, OSError) as failed:
            self.lingering.add(digest)
            if not isinstance(failed, ConflictError):
                log.warning("segment %s stays for now: %s", name, failed)
            return 0
        self.lingering.discard(digest)
        return freed

    def settle_lingering(self) -> None:
        """Try again what somebody mapped the last time."""
        for digest in list(self.lingering):
            self.settle(digest)

    def quarantine(self, digest: bytes) -> None:
        """Take a damaged segment out of the pool and of every view; call with ``whole`` held.

        Whoever maps it keeps its mapping; the bytes are kept for who wants to know what happened.
        """
        name = digest.hex()
        self.quarantines += 1
        for member in self._members:
            files.remove(member.view, name)
        steps.reached("quarantine: unlinked")
        with suppress(FileNotFoundError):
            os.rename(
                name,
                f"{name}.{secrets.token_hex(4)}",
                src_dir_fd=self._objects,
                dst_dir_fd=self._quarantine,
            )
        steps.reached("quarantine: moved")

    def resident(self) -> Iterator[tuple[bytes, int]]:
        """Digest and size of every segment, from the directory itself."""
        for name, found in files.regular(self._objects):
            if files.HEX.fullmatch(name):
                yield bytes.fromhex(name), found.st_size

    def files(self) -> Iterator[tuple[str, os.stat_result]]:
        """Everything in the directory but drafts, as ``lstat`` sees it."""
        for entry in files.entries(self._objects):
            with suppress(FileNotFoundError):
                yield entry.name, entry.stat(follow_symlinks=False)

    def allocated(self) -> int:
        """Bytes that the pool takes on the tmpfs, drafts included."""
        with os.scandir(self._objects) as found:
            return sum(_blocks(entry) for entry in found)

    def mend(self, view: int, named: Index) -> Iterator[tuple[str, str]]:
        """Put back links of a view that are missing or lead elsewhere; each, and what it was."""
        objects = {e.name: e.inode() for e in files.entries(self._objects)}
        links = {e.name: e.inode() for e in files.entries(view)}
        for digest in named.segments():
            name = digest.hex()
            if name not in objects or links.get(name) == objects[name] or self._shown(name, view):
                continue
            files.remove(view, name)
            with suppress(NotFoundError):
                self.show(digest, view)
            yield name, "was gone: linked again" if name not in links else "led elsewhere: replaced"
        for name in links.keys() - {files.VIEW_SOCKET}:
            if not files.HEX.fullmatch(name) and not name.endswith(".lease"):
                yield name, "is not ours: left alone"

    def _shown(self, name: str, view: int) -> bool:
        """Whether the link leads to the segment now: it may be younger than a list of links."""
        try:
            link = os.stat(name, dir_fd=view, follow_symlinks=False)
            segment = os.stat(name, dir_fd=self._objects, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return link.st_ino == segment.st_ino

    def sweep(self, resident: dict[bytes, int]) -> tuple[int, int]:
        """After a start: remove drafts, segments that no model names, and links to nothing; put
        back links that are missing.

        Args:
            resident: size of every segment that is there.

        Returns:
            How many drafts and how many segments went.
        """
        drafts = files.sweep_drafts(self._objects)
        steps.reached("recover: drafts swept")
        unsettled = {d for d in resident if not any(m.index.users(d) for m in self._members)}
        stray = len(unsettled)
        for member in self._members:
            unsettled |= self._sweep_view(member, resident)
        for digest in unsettled:
            self.settle(digest)
        return drafts, stray - len(self.lingering)

    def _sweep_view(self, member: Member, resident: dict[bytes, int]) -> set[bytes]:
        """Bring one view in line; its links to segments that its tenant does not name."""
        for name, fault in self.mend(member.view, member.index):
            log.warning("link %s %s", name, fault)
        names = (e.name for e in files.entries(member.view) if files.HEX.fullmatch(e.name))
        unnamed = {d for d in map(bytes.fromhex, names) if not member.index.users(d)}
        for digest in unnamed - resident.keys():
            files.remove(member.view, digest.hex())
            steps.reached("recover: dead link removed")
        return unnamed & resident.keys()

    def _unlink(self, digest: bytes, name: str) -> int:
        named = False
        for member in self._members:
            if member.index.users(digest):
                named = True
            else:
                files.remove(member.view, name)
                steps.reached("settle: unlinked")
        if named:
            return 0
        found = os.stat(name, dir_fd=self._objects, follow_symlinks=False)
        files.remove(self._objects, name)
        steps.reached("settle: removed")
        return found.st_blocks * 512


def _blocks(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_blocks * 512
    except FileNotFoundError:
        return 0
