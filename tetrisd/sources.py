"""Where the bytes of a publish come from: a client's stream, or files the daemon reads itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from tetris.errors import InvalidModelError
from tetris.formats.shards import Shards
from tetris.manifest import Claim
from tetris.shm import Mapping, Sum, same_bytes, same_memory

# What is read and hashed between two signs of progress.
_STEP = 64 << 20


class Source(Protocol):
    """A model on its way in.

    Attributes:
        fingerprint: identity of the model.
        name: for people.
        claims: what the source says of every tensor, in order.
        sent: whether somebody sends the bytes while they are taken, and sees how far that is.
    """

    fingerprint: bytes
    name: str
    claims: Sequence[Claim]
    sent: bool

    def same(self, index: int, memory: Mapping, progress: Callable[[], None]) -> bool:
        """Whether a tensor has the bytes of ``memory``; when not, :meth:`fill` comes next."""

    def fill(self, index: int, memory: Mapping, total: Sum, progress: Callable[[], None]) -> None:
        """Bring the bytes of a tensor into ``memory`` and through ``total``, in order."""

    def finish(self) -> None:
        """After the last tensor: complain if that was not all."""


class StreamSource:
    """The bytes of all tensors back to back, as a client sends them."""

    sent = True

    def __init__(
        self, fingerprint: bytes, name: str, claims: Sequence[Claim], chunks: Iterator[bytes]
    ) -> None:
        self.fingerprint = fingerprint
        self.name = name
        self.claims = claims
        self._chunks = chunks
        self._rest = memoryview(b"")
        self._agreed: tuple[Mapping, int] | None = None

    def same(self, index: int, memory: Mapping, progress: Callable[[], None]) -> bool:
        """Compare a tensor as it passes, writing nothing.

        A stream passes once: where it departs from ``memory``, :meth:`fill` goes on, beginning with
        what agreed so far; and it can be compared with one segment only.

        Raises:
            InvalidModelError: the stream ends before.
        """
        if self._agreed is not None:
            return False
        for done, part in self._parts(index, 0, memory.nbytes, progress):
            if not same_memory(memory, done, part):
                self._agreed = memory, done
                return False
            self._rest = self._rest[len(part) :]
        return True

    def fill(self, index: int, memory: Mapping, total: Sum, progress: Callable[[], None]) -> None:
        """Copy the next ``memory.nbytes`` bytes of the stream.

        Raises:
            InvalidModelError: the stream ends before.
        """
        begin = 0
        if self._agreed is not None:
            (twin, begin), self._agreed = self._agreed, None
            for start, nbytes in _steps(begin):
                total.copy(memory, start, twin.buffer()[start : start + nbytes])
                progress()
        for done, part in self._parts(index, begin, memory.nbytes, progress):
            total.copy(memory, done, part)
            self._rest = self._rest[len(part) :]

    def finish(self) -> None:
        """Check that nothing follows.

        Raises:
            InvalidModelError: something does.
        """
        if len(self._rest) or next(self._chunks, None) is not None:
            raise InvalidModelError(f"model {self.name}: more data than its tensor table announces")

    def _parts(
        self, index: int, done: int, nbytes: int, progress: Callable[[], None]
    ) -> Iterator[tuple[int, memoryview]]:
        """What is there of bytes ``done`` to ``nbytes`` of a tensor, and where each part begins."""
        while done < nbytes:
            if not self._rest:
                progress()
                self._rest = self._next(index, done)
            part = self._rest[: nbytes - done]
            yield done, part
            done += len(part)

    def _next(self, index: int, done: int) -> memoryview:
        chunk: bytes | None = next(self._chunks, None)
        if chunk is None:
            claim = self.claims[index]
            raise InvalidModelError(
                f"tensor {claim.name!r}: the stream ended after {done} of {claim.nbytes} bytes"
            )
        return memoryview(chunk)


class FileSource:
    """The files of a checkpoint."""

    sent = False

    def __init__(self, shards: Shards) -> None:
        self.fingerprint = shards.files.fingerprint
        self.name = shards.files.name
        self.claims: Sequence[Claim] = [shards.claim(entry) for entry in shards.entries]
        self._shards = shards

    def same(self, index: int, memory: Mapping, progress: Callable[[], None]) -> bool:
        """Compare a tensor where it lies; one in slices lies nowhere as a whole."""
        entry = self._shards.entries[index]
        if entry.slices:
            return False
        for start, nbytes in _steps(entry.nbytes):
            fd = self._shards.fd(entry.shard)
            where = entry.offset + start
            if not same_bytes(memory, start, fd, where, nbytes, f"tensor {entry.name!r}"):
                return False
            progress()
        return True

    def fill(self, index: int, memory: Mapping, total: Sum, progress: Callable[[], None]) -> None:
        """Read a tensor into ``memory``.

        Raises:
            InvalidModelError: its file ends before.
        """
        entry = self._shards.entries[index]
        if entry.slices:
            self._shards.assemble(entry, memory.buffer())
            total.update(memory.buffer())
            return
        for start, nbytes in _steps(entry.nbytes):
            fd = self._shards.fd(entry.shard)
            where = entry.offset + start
            total.pread(memory, start, fd, where, nbytes, f"tensor {entry.name!r}")
            progress()

    def finish(self) -> None:
        """A file may hold more than a model."""


def _steps(nbytes: int) -> Iterator[tuple[int, int]]:
    return ((start, min(_STEP, nbytes - start)) for start in range(0, nbytes, _STEP))
