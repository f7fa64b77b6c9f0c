"""The index of a tensor bundle: which tensors a checkpoint holds and where their bytes are.

A checkpoint PREFIX is ``PREFIX.index`` and the shards ``PREFIX.data-00000-of-00002`` and so on. A
shard is tensor data end to end, nothing else. The index is a sorted string table (see ``table``) of
protobuf messages (``bundle.proto``):

- the empty key, always first: a header with the number of shards, the byte order and the version;
- every other key is a tensor's name, and its entry gives DataType, shape, shard, offset, size and
  the masked CRC32C of the bytes. Elements lie in row-major order, little-endian, without padding;
- a partitioned variable's entry lists slices instead of a place, and each slice has an entry of its
  own under a key that starts with a zero byte (see ``slices``).

String tensors are laid out as the length of every element (varint), the masked CRC32C of the
lengths, then the elements' bytes. The lengths are checksummed as 4-byte numbers, not as the varints
they are stored as. The entry's CRC32C goes on from there over the 4 stored bytes of that checksum
and the elements' bytes.
"""

from __future__ import annotations

import struct
from math import prod
from typing import NamedTuple, TypeVar

from google.protobuf.message import DecodeError

from tetris.errors import CorruptDataError, InvalidModelError
from tetris.formats import bundle_pb2, dtypes
from tetris.formats.slices import WHOLE, Extents, cut_axes, encode_key, tiles
from tetris.formats.table import read_table, read_varint, unmask
from tetris.shm import crc32c

MAX_STRING_BYTES = 16 << 20
"""String tensors travel inside the manifest, so they must stay small."""

MAX_STRINGS = 1 << 20
"""And few: each costs far more in memory than the one byte it may take in the file."""

_VERSION = 1
_MAX_ENTRIES = 1 << 20
_MAX_ENTRY_BYTES = 1 << 20  # 10,000 slices and more
_MAX_RANK = 254  # TensorFlow's own
_MAX_CUT_AXES = 4
_MAX_INT64 = (1 << 63) - 1


class Slice(NamedTuple):
    """One stored box of a partitioned tensor.

    Attributes:
        extents: (start, length) along every axis.
        shard: number of the data file.
        offset: of the first byte in it.
        nbytes: length in bytes, above or equal to 0.
        crc32c: of these bytes, unmasked.
    """

    extents: Extents
    shard: int
    offset: int
    nbytes: int
    crc32c: int


class Entry(NamedTuple):
    """One tensor.

    Attributes:
        name: any text without NUL; slashes and dots mean nothing, a name is never a path.
        dtype: a name of ``tetris.formats.dtypes``; for a refused tensor whatever can be said of it.
        shape: of the whole tensor, in elements.
        nbytes: of the whole tensor; for strings and refused tensors as stored.
        shard: number of the data file; -1 with slices.
        offset: of the first byte in it; 0 with slices.
        crc32c: of the bytes, unmasked; 0 with slices.
        slices: where the bytes are instead, when the tensor was saved in parts. They cover it
            exactly.
        refusal: why this tensor cannot be shared, as a sentence; empty when it can. It is no reason
            to
            refuse the others: TensorFlow reads this one itself.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    shard: int
    offset: int
    crc32c: int
    slices: tuple[Slice, ...] = ()
    refusal: str = ""

    @property
    def stored(self) -> tuple[Entry | Slice, ...]:
        """What lies in the shards, each with shard, offset, nbytes and crc32c."""
        return self.slices or (self,)


class Bundle(NamedTuple):
    """An index.

    Attributes:
        num_shards: how many data files its writer counted; a shard without tensors may not exist.
        entries: ascending by the bytes of their names.
    """

    num_shards: int
    entries: tuple[Entry, ...]


def parse_index(data: bytes, name: str = "the index") -> Bundle:
    """Read and check a whole index.

    Everything that can be known without the shards is checked here; that an entry lies within its
    shard is checked when that is opened.

    Args:
        data: the file.
        name: what to call it in messages.

    Raises:
        InvalidModelError: it cannot be right.
        CorruptDataError: part of it does not match its checksum.
    """
    table = read_table(data, name)
    key, value = next(table, (b"-", b""))
    if key:
        raise InvalidModelError(f"{name} has no header; it is not the index of a checkpoint")
    parser = _Parser(name, _num_shards(value, name))
    entries = []
    for count, (key, value) in enumerate(table):
        if count == _MAX_ENTRIES:
            raise InvalidModelError(f"{name} holds more than {_MAX_ENTRIES:,} entries")
        proto = _decode(bundle_pb2.BundleEntry, value, name, key)
        if key[0] == 0:
            # In ascending order these come before every tensor.
            parser.slice_data[key] = proto
        else:
            entries.append(parser.entry(key, proto))
    if parser.slice_data:
        stray = next(iter(parser.slice_data))
        raise InvalidModelError(f"{name}: key {stray!r} starts with NUL and belongs to no tensor")
    return Bundle(parser.num_shards, tuple(entries))


def decode_strings(entry: Entry, data: bytes) -> tuple[bytes, ...]:
    """The elements of a string tensor, in row-major order.

    Args:
        entry: a tensor of dtype ``string``.
        data: its ``nbytes`` bytes of the shard.

    Raises:
        InvalidModelError: the lengths do not add up.
        CorruptDataError: one of the two checksums is wrong.
    """
    name = f"string tensor {entry.name}"
    count = prod(entry.shape)
    if count == 0 and not data:
        return ()
    lengths = []
    at = 0
    for _ in range(count):
        length, at = read_varint(data, at, len(data), name)
        lengths.append(length)
    start = at + 4
    if start + sum(lengths) != len(data):
        raise InvalidModelError(f"{name}: its {count} lengths do not add up to {len(data)} bytes")
    # A length above 2**32 - 1 would be checksummed as 8 bytes, but MAX_STRING_BYTES is far below.
    crc = crc32c(struct.pack(f"<{count}I", *lengths))
    if unmask(int.from_bytes(data[at:start], "little")) != crc:
        raise CorruptDataError(f"{name}: the checksum of its lengths does not match")
    if crc32c(memoryview(data)[at:], crc) != entry.crc32c:
        raise CorruptDataError(f"{name} does not match its checksum")
    elements = []
    for length in lengths:
        elements.append(data[start : start + length])
        start += length
    return tuple(elements)


class _Parser:
    """Turns messages into entries.

    Attributes:
        slice_data: by key, what no entry has claimed yet.
    """

    def __init__(self, name: str, num_shards: int) -> None:
        self.name = name
        self.num_shards = num_shards
        self.slice_data: dict[bytes, bundle_pb2.BundleEntry] = {}
        self._shapes: dict[bytes, tuple[int, ...]] = {}

    def entry(self, key: bytes, proto: bundle_pb2.BundleEntry) -> Entry:
        try:
            name = key.decode()
        except UnicodeDecodeError:
            raise InvalidModelError(f"{self.name}: tensor name {key!r} is not UTF-8") from None
        if "\0" in name:
            raise InvalidModelError(f"{self.name}: tensor name {name!r} contains NUL")
        shape = self.shape(name, proto.shape)
        if proto.slices:
            return self.sliced(name, shape, proto)
        shard, offset, nbytes = self.place(name, proto)
        dtype = dtypes.BY_NUMBER.get(proto.dtype)
        if dtype is None:
            kind, refusal = dtypes.describe(proto.dtype), _not_shareable(name, proto.dtype)
        else:
            kind, refusal = dtype.name, self.check_size(name, dtype, shape, nbytes)
        return Entry(name, kind, shape, nbytes, shard, offset, unmask(proto.crc32c), (), refusal)

    def shape(self, name: str, encoded: bytes) -> tuple[int, ...]:
        shape = self._shapes.get(encoded)
        if shape is None:
            message = _decode(bundle_pb2.TensorShape, encoded, self.name, name.encode())
            if message.unknown_rank or len(message.dim) > _MAX_RANK:
                raise self.wrong(name, "has an unknown or impossible rank")
            shape = tuple([dim.size for dim in message.dim])
            # The largest element has 16 bytes. Axes of length 0 do not excuse the others: such a
            # shape overflows in whoever multiplies from the left.
            if shape and (min(shape) < 0 or prod(filter(None, shape)) > _MAX_INT64 // 16):
                raise self.wrong(name, f"has the impossible shape {list(shape)}")
            self._shapes[encoded] = shape
        return shape

    def place(self, name: str, proto: bundle_pb2.BundleEntry) -> tuple[int, int, int]:
        """Check and return shard, offset and size."""
        shard, offset, nbytes = proto.shard_id, proto.offset, proto.size
        if nbytes < 0 or offset < 0 or offset + nbytes > _MAX_INT64:
            raise self.wrong(name, f"claims {nbytes} bytes at offset {offset}")
        if not 0 <= shard < self.num_shards:
            raise self.wrong(name, f"is said to be in shard {shard} of {self.num_shards}")
        return shard, offset, nbytes

    def check_size(
        self, name: str, dtype: dtypes.DType, shape: tuple[int, ...], nbytes: int
    ) -> str:
        """Compare size and shape; the answer is why the tensor cannot be shared, or nothing."""
        count = prod(shape)
        if dtype.itemsize:
            if count * dtype.itemsize != nbytes:
                raise self.wrong(
                    name, f"claims {nbytes} bytes for {dtype.name} of shape {list(shape)}"
                )
            return ""
        # Each string has at least one byte of length; the checksum of the lengths has four.
        if count and nbytes < count + 4:
            raise self.wrong(name, f"claims {count} strings in {nbytes} bytes")
        if nbytes > MAX_STRING_BYTES:
            return f"tensor {name} holds {nbytes} bytes of strings, too many for a manifest"
        if count > MAX_STRINGS:
            return f"tensor {name} holds {count} strings, too many for a manifest"
        return ""

    def sliced(self, name: str, shape: tuple[int, ...], proto: bundle_pb2.BundleEntry) -> Entry:
        slices = tuple([self.slice(name, shape, proto, box) for box in proto.slices])
        dtype = dtypes.BY_NUMBER.get(proto.dtype)
        boxes = [part.extents for part in slices]
        if dtype is None:
            refusal = _not_shareable(name, proto.dtype)
        elif dtype is dtypes.STRING:
            refusal = f"tensor {name} holds strings in slices, which are not put together here"
        elif len(cut_axes(shape, boxes)) > _MAX_CUT_AXES:
            refusal = f"tensor {name} is cut along more than {_MAX_CUT_AXES} axes"
        elif tiles(shape, boxes):
            refusal = ""
        else:
            raise self.wrong(name, "has slices that overlap or leave holes")
        nbytes = prod(shape) * dtype.itemsize if dtype else 0
        dtype_name = dtypes.describe(proto.dtype)
        return Entry(name, dtype_name, shape, nbytes, -1, 0, 0, slices, refusal)

    def slice(
        self,
        name: str,
        shape: tuple[int, ...],
        full: bundle_pb2.BundleEntry,
        box: bundle_pb2.TensorSlice,
    ) -> Slice:
        raw = [(e.start, e.length if e.HasField("length") else WHOLE) for e in box.extent]
        if len(raw) != len(shape):
            raise self.wrong(name, f"of rank {len(shape)} has a slice of rank {len(raw)}")
        # A start without a length is "all of the axis" only from its beginning.
        extents = tuple(
            [
                (start, size if (start, length) == (0, WHOLE) else length)
                for (start, length), size in zip(raw, shape, strict=True)
            ]
        )
        for (start, length), size in zip(extents, shape, strict=True):
            if start < 0 or length < 0 or start + length > size:
                raise self.wrong(name, f"has a slice {list(extents)} outside of {list(shape)}")
        data = self.slice_data.pop(encode_key(name.encode(), raw), None)
        if data is None:
            raise self.wrong(name, f"lists slice {list(extents)} twice or without data")
        lengths = tuple(length for _, length in extents)
        if data.dtype != full.dtype or data.slices or self.shape(name, data.shape) != lengths:
            raise self.wrong(name, f"and its slice {list(extents)} disagree on dtype or shape")
        shard, offset, nbytes = self.place(name, data)
        dtype = dtypes.BY_NUMBER.get(full.dtype)
        if dtype:
            self.check_size(name, dtype, lengths, nbytes)
        return Slice(extents, shard, offset, nbytes, unmask(data.crc32c))

    def wrong(self, name: str, what: str) -> InvalidModelError:
        return InvalidModelError(f"{self.name}: tensor {name} {what}")


def _not_shareable(name: str, number: int) -> str:
    kind = dtypes.describe(number)
    return f"tensor {name} has dtype {kind} (DataType {number}), which Tetris cannot share"


def _num_shards(value: bytes, name: str) -> int:
    """Check the header."""
    header = _decode(bundle_pb2.BundleHeader, value, name, b"")
    if header.endianness != 0:
        raise InvalidModelError(f"{name} is big-endian; save the model on a little-endian machine")
    version = header.version
    if version.min_consumer > _VERSION or _VERSION in version.bad_consumers:
        raise InvalidModelError(
            f"{name} asks for a reader of version {version.min_consumer}; this one reads {_VERSION}"
        )
    if header.num_shards < 1:
        raise InvalidModelError(f"{name} says it has {header.num_shards} shards")
    return header.num_shards


_Message = TypeVar(
    "_Message", bundle_pb2.BundleHeader, bundle_pb2.BundleEntry, bundle_pb2.TensorShape
)


def _decode(kind: type[_Message], value: bytes, name: str, key: bytes) -> _Message:
    if len(value) <= _MAX_ENTRY_BYTES:
        try:
            return kind.FromString(value)
        except DecodeError:
            pass
    raise InvalidModelError(f"{name}: the entry of key {key!r} cannot be read")
