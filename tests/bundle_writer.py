"""Writes checkpoints byte by byte, so that a test can tell any one lie exactly.

Nothing here checks or sorts: what is asked for is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

from tetris.formats import bundle_pb2
from tetris.formats.table import MAGIC
from tetris.shm import crc32c

FLOAT32, INT32, STRING = 1, 3, 7


def mask(crc: int) -> int:
    """How a checksum is stored."""
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def varint(value: int) -> bytes:
    """A number as protobuf writes it."""
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def raw_block(contents: bytes, compression: int = 0) -> bytes:
    """A block with its trailer."""
    body = contents + bytes([compression])
    return body + mask(crc32c(body)).to_bytes(4, "little")


def block(
    pairs: Iterable[tuple[bytes, bytes]], *, interval: int = 16, compression: int = 0
) -> bytes:
    """A block of these entries, in the order given."""
    out, restarts, last = b"", [0], b""
    for number, (key, value) in enumerate(pairs):
        shared = 0
        if number % interval:
            while shared < min(len(last), len(key)) and last[shared] == key[shared]:
                shared += 1
        elif number:
            restarts.append(len(out))
        fresh = key[shared:]
        out += varint(shared) + varint(len(fresh)) + varint(len(value)) + fresh + value
        last = key
    words = [*restarts, len(restarts)]
    return raw_block(out + b"".join(word.to_bytes(4, "little") for word in words), compression)


def assemble(
    blocks: Sequence[tuple[bytes, bytes]],
    *,
    handles: Sequence[tuple[int, int]] | None = None,
    magic: int = MAGIC,
) -> bytes:
    """A table of finished blocks, each with its index key; ``handles`` may lie about them."""
    out, true_handles = b"", []
    for _, body in blocks:
        true_handles.append((len(out), len(body) - 5))
        out += body
    pairs = [
        (key, varint(offset) + varint(size))
        for (key, _), (offset, size) in zip(blocks, handles or true_handles, strict=True)
    ]
    footer = b""
    for body in (block([]), block(pairs, interval=1)):
        footer += varint(len(out)) + varint(len(body) - 5)
        out += body
    return out + footer.ljust(40, b"\0") + magic.to_bytes(8, "little")


def table(pairs: Sequence[tuple[bytes, bytes]], *, per_block: int = 1000, **how: Any) -> bytes:
    """A table of these entries, in the order given."""
    groups = [pairs[at : at + per_block] for at in range(0, len(pairs), per_block)]
    return assemble([(group[-1][0], block(group, **how)) for group in groups])


def header(shards: int = 1, **fields: Any) -> tuple[bytes, bytes]:
    """The first entry of an index."""
    return b"", bundle_pb2.BundleHeader(num_shards=shards, **fields).SerializeToString()


def shape_of(dims: Sequence[int]) -> bytes:
    """A shape as an entry holds it."""
    dim = [bundle_pb2.TensorShape.Dim(size=size) for size in dims]
    return bundle_pb2.TensorShape(dim=dim).SerializeToString()


def entry(dims: Sequence[int] = (), **fields: Any) -> bytes:
    """The value of a tensor: float32 unless told, with the size its shape asks for."""
    known = {"dtype": FLOAT32, "shape": shape_of(dims), "size": min(4 * prod(dims), 2**63 - 1)}
    return bundle_pb2.BundleEntry(**{**known, **fields}).SerializeToString()


def box(*extents: tuple[int, int] | None) -> bundle_pb2.TensorSlice:
    """A slice; None takes the whole axis."""
    extent = bundle_pb2.TensorSlice.Extent
    parts = [extent(start=e[0], length=e[1]) if e else extent() for e in extents]
    return bundle_pb2.TensorSlice(extent=parts)


def index(*tensors: tuple[str | bytes, bytes], shards: int = 1, **fields: Any) -> bytes:
    """An index of these (name, entry) pairs, in the order given."""
    pairs = [(name.encode() if isinstance(name, str) else name, value) for name, value in tensors]
    return table([header(shards, **fields), *pairs])


def strings(*elements: bytes) -> tuple[bytes, int]:
    """A string tensor's bytes and their checksum, unmasked."""
    crc = crc32c(b"".join(len(element).to_bytes(4, "little") for element in elements))
    tail = mask(crc).to_bytes(4, "little") + b"".join(elements)
    return b"".join(varint(len(element)) for element in elements) + tail, crc32c(tail, crc)


def write(prefix: Path, tensors: Mapping[str, tuple[Sequence[int], bytes]]) -> None:
    """A checkpoint of float32 tensors in one shard."""
    data, pairs = b"", []
    for name, (shape, body) in sorted(tensors.items()):
        pairs.append((name, entry(shape, offset=len(data), crc32c=mask(crc32c(body)))))
        data += body
    prefix.parent.mkdir(parents=True, exist_ok=True)
    Path(f"{prefix}.data-00000-of-00001").write_bytes(data)
    Path(f"{prefix}.index").write_bytes(index(*pairs))
