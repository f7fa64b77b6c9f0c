"""Reading a sorted string table, the container of a checkpoint's index.

The file, from front to back (all fixed-width numbers little-endian, ``varint`` as in protobuf)::

    data block, data block, ...      keys and values, in ascending order of keys
    metaindex block                  unused by TensorFlow, and not read here
    index block                      one entry per data block: key = a string that is at or above
                                     every key of the block and below every key of the next,
                                     value = handle of the block
    footer, 48 bytes                 handle of the metaindex block, handle of the index block,
                                     zeros up to byte 40, magic number 0xdb4775248b80fb57

A handle is ``varint offset, varint size``. After the ``size`` bytes of every block come five more:
one that names its compression (0 none, 1 snappy) and the masked CRC32C of the block and that byte.

A block is a run of entries, then an array of 4-byte restart offsets, then their number as 4 bytes.
An entry is ``varint shared, varint fresh, varint length``, ``fresh`` bytes of key, ``length`` bytes
of value; its key is the first ``shared`` bytes of the key before it and then the fresh ones. At a
restart offset ``shared`` is 0, so that a reader can search by halves. This one reads from front to
back and does without them.

What is read may be hostile: every offset and length is checked, and time and memory stay
proportional to the size of the table.
"""

from __future__ import annotations

from collections.abc import Iterator

from tetris.errors import CorruptDataError, InvalidModelError
from tetris.shm import crc32c

MAGIC = 0xDB4775248B80FB57
FOOTER_SIZE = 48
TRAILER_SIZE = 5

# Writers store a whole key every 16 entries, so the keys of a block cannot be more than 16 times as
# long as the block. Beyond that it is a bomb: three bytes each that stand for a long key.
_MAX_KEY_GROWTH = 16


def read_table(data: bytes, name: str) -> Iterator[tuple[bytes, bytes]]:
    """Yield the (key, value) pairs of the table ``data`` in strictly ascending order of keys.

    Args:
        data: the whole file.
        name: what to call it in messages.

    Raises:
        InvalidModelError: it is no table, is cut short, compressed, out of order or inconsistent.
        CorruptDataError: a block does not match its checksum.
    """
    index = _footer(data, name)
    end_of_last = 0
    lower: bytes | None = None
    for upper, value in _block(data, index, name):
        handle, _ = _handle(value, 0, len(value), name)
        # Ascending and apart: nobody can make us read one block many times.
        if handle[0] < end_of_last:
            raise InvalidModelError(f"{name}: its blocks overlap or are out of order")
        end_of_last = sum(handle) + TRAILER_SIZE
        for key, item in _block(data, handle, name):
            if key > upper or (lower is not None and key <= lower):
                raise InvalidModelError(f"{name}: key {key!r} is not in the block that is its own")
            yield key, item
        lower = upper


def unmask(masked: int) -> int:
    """The CRC32C that was stored masked: rotated by 15 bits to the right plus a constant.

    A checksum of data that itself contains checksums would otherwise be weak.
    """
    rotated = (masked - 0xA282EAD8) & 0xFFFFFFFF
    return ((rotated << 15) | (rotated >> 17)) & 0xFFFFFFFF


def read_varint(data: bytes, at: int, end: int, name: str) -> tuple[int, int]:
    """The varint at ``data[at]``, and where the next byte is.

    Raises:
        InvalidModelError: it does not end before ``end`` or does not fit into 64 bits.
    """
    value = shift = 0
    while at < end and shift < 64:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >> 64:
                break
            return value, at
        shift += 7
    raise InvalidModelError(f"{name}: a number in it is cut short or too long")


def _footer(data: bytes, name: str) -> tuple[int, int]:
    """The handle of the index block."""
    if len(data) < FOOTER_SIZE:
        raise InvalidModelError(f"{name}: {len(data)} bytes are too few for a checkpoint index")
    if int.from_bytes(data[-8:], "little") != MAGIC:
        raise InvalidModelError(
            f"{name} does not end as a checkpoint index does; it is cut short or something else"
        )
    end = len(data) - 8
    _, at = _handle(data, len(data) - FOOTER_SIZE, end, name)
    index, _ = _handle(data, at, end, name)
    return index


def _handle(data: bytes, at: int, end: int, name: str) -> tuple[tuple[int, int], int]:
    offset, at = read_varint(data, at, end, name)
    size, at = read_varint(data, at, end, name)
    return (offset, size), at


def _block(data: bytes, handle: tuple[int, int], name: str) -> Iterator[tuple[bytes, bytes]]:
    """Verify one block and yield its entries, in strictly ascending order of keys."""
    start, size = handle
    end = start + size
    if end + TRAILER_SIZE > len(data) - FOOTER_SIZE:
        raise InvalidModelError(f"{name}: the block at {start} reaches past the end of the file")
    stored = unmask(int.from_bytes(data[end + 1 : end + TRAILER_SIZE], "little"))
    if crc32c(memoryview(data)[start : end + 1]) != stored:
        raise CorruptDataError(f"{name}: the block at {start} does not match its checksum")
    if data[end] == 1:
        raise InvalidModelError(
            f"{name} is compressed with snappy, which Tetris does not read; save it uncompressed, "
            "as TensorFlow does by default"
        )
    if data[end] != 0:
        raise InvalidModelError(f"{name}: the block at {start} has unknown compression {data[end]}")
    restarts = int.from_bytes(data[end - 4 : end], "little") if size >= 4 else -1
    limit = end - 4 - 4 * restarts
    if restarts < 0 or limit < start or (restarts == 0 and limit > start):
        raise InvalidModelError(f"{name}: the block at {start} has a wrong number of restarts")
    yield from _entries(data, start, limit, name)


def _entries(data: bytes, at: int, end: int, name: str) -> Iterator[tuple[bytes, bytes]]:
    key: bytes | None = None
    key_bytes_left = _MAX_KEY_GROWTH * (end - at)
    while at < end:
        if end - at < 3:
            raise InvalidModelError(f"{name}: an entry is cut short")
        shared, fresh, length = data[at], data[at + 1], data[at + 2]
        at += 3
        if (shared | fresh | length) > 0x7F:
            shared, at = read_varint(data, at - 3, end, name)
            fresh, at = read_varint(data, at, end, name)
            length, at = read_varint(data, at, end, name)
        middle = at + fresh
        key_bytes_left -= shared + fresh
        if shared > len(key or b"") or middle + length > end or key_bytes_left < 0:
            raise InvalidModelError(f"{name}: an entry claims more bytes than there are")
        last = key
        key = (last or b"")[:shared] + data[at:middle]
        if last is not None and key <= last:
            raise InvalidModelError(f"{name}: key {key!r} is there twice or out of order")
        at = middle + length
        yield key, data[middle:at]
