"""The data files of a model, open: what a publisher reads its bytes from."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from math import prod
from types import TracebackType

from tetris.errors import CorruptDataError
from tetris.formats.bundle import MAX_STRING_BYTES, MAX_STRINGS, Entry, Slice
from tetris.formats.directory import pread
from tetris.formats.dtypes import BY_NAME
from tetris.formats.model import CheckpointFiles
from tetris.formats.slices import slice_runs
from tetris.manifest import Claim
from tetris.shm import crc32c

# Shards kept open at once: a model may have more than a process may have files.
_OPEN = 64
# What is read of a slice at once.
_STEP = 8 << 20


class Shards:
    """A context manager over the shards of ``files``, opened when first needed.

    Attributes:
        files: the model.
        entries: its tensors that can be shared, strings while they fit into a manifest together;
            TensorFlow reads the others itself.
    """

    def __init__(self, files: CheckpointFiles) -> None:
        self.files = files
        self.entries = tuple(_shareable(files.bundle.entries))
        self._open: dict[int, int] = {}

    def fd(self, shard: int) -> int:
        """A descriptor of that shard, good until the next call.

        Raises:
            NotFoundError: the file is missing.
            InvalidModelError: it is shorter than its index says.
        """
        if shard not in self._open:
            if len(self._open) == _OPEN:
                os.close(self._open.pop(next(iter(self._open))))
            self._open[shard] = self.files.open_shard(shard)
        return self._open[shard]

    def claim(self, entry: Entry) -> Claim:
        """What the index says of a tensor; strings are read.

        Raises:
            CorruptDataError: strings do not match their checksum.
        """
        if entry.dtype == "string":
            strings = self.files.read_strings(entry, self.fd(entry.shard)) if entry.nbytes else ()
            return Claim(entry.name, entry.dtype, entry.shape, strings=strings)
        crc = None if entry.slices else entry.crc32c
        return Claim(entry.name, entry.dtype, entry.shape, entry.nbytes, crc)

    def assemble(self, entry: Entry, target: memoryview) -> None:
        """Put the slices of a partitioned tensor where they belong in ``target``.

        Raises:
            CorruptDataError: a slice does not match its checksum.
        """
        itemsize = BY_NAME[entry.dtype].itemsize
        for part in entry.slices:
            runs = slice_runs(entry.shape, itemsize, part.extents)
            if self._scatter(part, runs, target) != part.crc32c:
                raise CorruptDataError(
                    f"tensor {entry.name!r}: slice {list(part.extents)} does not match its CRC32C: "
                    "the data is damaged or changed under the publisher"
                )

    def _scatter(
        self, part: Slice, runs: Iterator[tuple[int, int, int]], target: memoryview
    ) -> int:
        """Read a slice step by step and copy its runs, which follow each other; its CRC32C."""
        name, crc = self.files.shard_name(part.shard), 0
        to = left = 0
        for start in range(0, part.nbytes, _STEP):
            nbytes = min(_STEP, part.nbytes - start)
            data = pread(self.fd(part.shard), part.offset + start, nbytes, name)
            crc = crc32c(data, crc)
            at = 0
            while at < nbytes:
                if not left:
                    to, _, left = next(runs)
                now = min(left, nbytes - at)
                target[to : to + now] = data[at : at + now]
                at, to, left = at + now, to + now, left - now
        return crc

    def chunks(self, entry: Entry, nbytes: int) -> Iterator[bytes]:
        """The bytes of a tensor in pieces of at most ``nbytes``.

        Raises:
            InvalidModelError: the file ends before, or a slice is damaged.
        """
        if entry.slices:
            whole = bytearray(entry.nbytes)
            self.assemble(entry, memoryview(whole))
            for start in range(0, entry.nbytes, nbytes):
                yield bytes(whole[start : start + nbytes])
            return
        name = self.files.shard_name(entry.shard)
        for start in range(0, entry.nbytes, nbytes):
            length = min(nbytes, entry.nbytes - start)
            yield pread(self.fd(entry.shard), entry.offset + start, length, name)

    def __enter__(self) -> Shards:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        while self._open:
            os.close(self._open.popitem()[1])


def _shareable(entries: Iterable[Entry]) -> Iterator[Entry]:
    room, count = MAX_STRING_BYTES, MAX_STRINGS
    for entry in entries:
        if entry.refusal:
            continue
        if entry.dtype == "string":
            strings = prod(entry.shape)
            if entry.nbytes > room or strings > count:
                continue
            room, count = room - entry.nbytes, count - strings
        yield entry
