"""Target ``index``: the bytes of a ``variables.index``, through all that reads a model's files."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import prod

from google.protobuf.message import DecodeError

import bundle_writer as w
from fuzz import protobufs
from tetris.errors import InvalidModelError, NotFoundError
from tetris.formats import Bundle, CheckpointFiles, Entry, bundle_pb2, dtypes, locate, table
from tetris.formats.shards import Shards
from tetris.formats.slices import WHOLE, encode_key, slice_runs
from tetris.shm import crc32c
from tetrisd.claims import check_claims

MAX_SIZE = 8192

STRINGS, STRINGS_CRC = w.strings(b"saved", b"", b"strings" * 9)
SHARD = STRINGS + random.Random(3).randbytes((64 << 10) - len(STRINGS))
"""What every data file holds: a string tensor, then numbers."""

_REFUSED = (InvalidModelError, NotFoundError)
_ASSEMBLED = 1 << 20  # bytes of tensors that are read


class _Memory:
    """A directory with a checkpoint ``m`` of these files, and a state file in ``state``."""

    root = "/models"

    def __init__(self, index: bytes) -> None:
        self._index = index

    def open(self, name: str) -> int:
        if name in ("m.index", "state/checkpoint"):
            body = self._index
        elif name.startswith("m.data-"):
            body = SHARD
        else:
            raise NotFoundError(f"there is no {name}")
        fd = os.memfd_create("file")
        os.write(fd, body)
        return fd


def run(data: bytes) -> None:
    """Every error is one of the tree's; what is accepted is as its definition says."""
    directory = _Memory(data)
    with contextlib.suppress(*_REFUSED):
        locate("state", directory)
    files = locate("m", directory)
    with contextlib.suppress(*_REFUSED):
        _check(files)


def _check(files: CheckpointFiles) -> None:
    bundle = files.bundle
    assert all(a.name.encode() < b.name.encode() for a, b in pairwise(bundle.entries))
    for entry in bundle.entries:
        _check_entry(bundle, entry)
    with Shards(files) as shards:
        claims = []
        for entry in shards.entries:
            with contextlib.suppress(*_REFUSED):
                claims.append(shards.claim(entry))
                if entry.dtype != "string" and entry.nbytes <= _ASSEMBLED:
                    assert sum(map(len, shards.chunks(entry, 3000))) == entry.nbytes
        check_claims("m", claims)


def _check_entry(bundle: Bundle, entry: Entry) -> None:
    assert "\0" not in entry.name
    for part in entry.stored:
        assert 0 <= part.shard < bundle.num_shards
        assert part.offset >= 0
        assert 0 <= part.nbytes < 1 << 63
    if entry.refusal:
        return
    itemsize = dtypes.BY_NAME[entry.dtype].itemsize
    if itemsize:
        assert entry.nbytes == prod(entry.shape) * itemsize
    if entry.slices and entry.nbytes <= _ASSEMBLED:
        _check_cover(entry, itemsize)


def _check_cover(entry: Entry, itemsize: int) -> None:
    """The slices write each byte of the tensor once, and read all of their own."""
    written = bytearray(entry.nbytes)
    for part in entry.slices:
        read = 0
        for to, start, nbytes in slice_runs(entry.shape, itemsize, part.extents):
            assert start == read
            assert not any(written[to : to + nbytes])
            assert to + nbytes <= entry.nbytes
            written[to : to + nbytes] = b"\1" * nbytes
            read += nbytes
        assert read == part.nbytes
    assert all(written)


def seal(data: bytes) -> bytes:
    """``data`` with the checksums that its blocks must have, as far as it has blocks."""
    out = bytearray(data)
    with contextlib.suppress(Exception):
        index = table._footer(data, "")
        _seal_block(out, index)
        for _, value in table._block(bytes(out), index, ""):
            _seal_block(out, table._handle(value, 0, len(value), "")[0])
    return bytes(out)


def _seal_block(out: bytearray, handle: tuple[int, int]) -> None:
    start, end = handle[0], sum(handle) + 1
    if end + 4 <= len(out):
        out[end : end + 4] = w.mask(crc32c(out[start:end])).to_bytes(4, "little")


def mutate(data: bytes, size: int, rng: random.Random, bend: protobufs.Bend) -> bytes:
    """Mostly another table of changed entries; at times other bytes, with checksums or without."""
    act = rng.random()
    if act < 0.1:
        return bend(data)[:size]
    pairs = list(_pairs(data)) if act < 0.8 else []
    if not pairs:
        return seal(bend(data)[:size])
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        pairs = _mutate_pairs(pairs, rng, bend) if pairs else [w.header()]
    if rng.random() < 0.95:
        pairs.sort()
    made = w.table(pairs, per_block=rng.choice((1, 3, 1000))) if pairs else b""
    return made if len(made) <= size else seal(bend(data)[:size])


def _pairs(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The entries of a table up to its first fault."""
    with contextlib.suppress(Exception):
        yield from table.read_table(data, "")


def _mutate_pairs(
    pairs: list[tuple[bytes, bytes]], rng: random.Random, bend: protobufs.Bend
) -> list[tuple[bytes, bytes]]:
    at = rng.randrange(len(pairs))
    key, value = pairs[at]
    act = rng.randrange(10)
    if act == 0:
        return pairs[:at] + pairs[at + 1 :]
    if act == 1:
        return [*pairs, (bend(key), value)]
    if act == 2:
        return [*pairs[:at], (bend(key), value), *pairs[at + 1 :]]
    if act == 3:
        return [*pairs[:at], (key, bend(value)), *pairs[at + 1 :]]
    kind = bundle_pb2.BundleEntry if key else bundle_pb2.BundleHeader
    with contextlib.suppress(DecodeError):
        message = kind.FromString(value)
        if act > 6 and key and message.slices:
            return _mutate_slice(pairs, at, message, rng)
        protobufs.mutate(message, rng, bend)
        pairs = [*pairs[:at], (key, message.SerializeToString()), *pairs[at + 1 :]]
    return pairs


def _mutate_slice(
    pairs: list[tuple[bytes, bytes]], at: int, entry: bundle_pb2.BundleEntry, rng: random.Random
) -> list[tuple[bytes, bytes]]:
    """Change one box of a partitioned tensor, together with the key and shape of its data."""
    name = pairs[at][0]
    box = rng.choice(entry.slices)
    old = encode_key(name, _extents(box))
    if box.extent:
        extent = rng.choice(box.extent)
        extent.start = _near(extent.start, rng)
        extent.length = _near(extent.length, rng)
    found = dict(pairs)
    found[name] = entry.SerializeToString()
    with contextlib.suppress(KeyError, DecodeError):
        data = bundle_pb2.BundleEntry.FromString(found.pop(old))
        shape = [length for _, length in _extents(box)]
        data.shape, data.size = w.shape_of(shape), 4 * prod(shape)
        found[encode_key(name, _extents(box))] = data.SerializeToString()
    return list(found.items())


def _near(value: int, rng: random.Random) -> int:
    return max(0, min(value + rng.choice((-1, 0, 0, 1)), 2**63 - 1))


def _extents(box: bundle_pb2.TensorSlice) -> list[tuple[int, int]]:
    return [(e.start, e.length if e.HasField("length") else WHOLE) for e in box.extent]


def seeds() -> dict[str, bytes]:
    """Small indexes as savers write them: plain, strings, several shards, slices, odd dtypes."""
    plain = _tensor((2, 3), 64)
    text = w.entry((3,), dtype=w.STRING, size=len(STRINGS), crc32c=w.mask(STRINGS_CRC))
    halves = [((0, 2), (0, 4)), ((2, 2), (0, 4))]
    quarters = [((a, 2), (b, 3)) for a in (0, 2) for b in (0, 3)]
    odd = [(f"t{n:02}", w.entry((3,), dtype=n, size=3 * d.itemsize)) for n, d in _sized()]
    many = [w.header(), *((f"n{i:03}".encode(), plain) for i in range(40))]
    return {
        "empty": w.index(),
        "plain": w.index(("dense/bias", _tensor((3,), 0)), ("dense/kernel", plain)),
        "scalar": w.index(("step", _tensor((), 128))),
        "strings": w.index(("_CHECKPOINTABLE_OBJECT_GRAPH", text), ("w", plain)),
        "shards": w.index(("a", plain), ("b", _tensor((5,), 8, shard_id=2)), shards=3),
        "halves": w.index(*_sliced("part", (4, 4), halves)),
        "quarters": w.index(*_sliced("part", (4, 6), quarters), ("z", plain)),
        "whole": w.index(*_sliced("part", (4,), [(None,)])),
        "dtypes": w.index(*odd),
        "resource": w.index(("table", w.entry((), dtype=20, size=8)), ("w", plain)),
        "zero": w.index(("none", w.entry((0, 7))), ("w", plain)),
        "blocks": w.table(many, per_block=7),
        "state": b'model_checkpoint_path: "ckpt-1"\nall_model_checkpoint_paths: "ckpt-1"\n',
        "no_text": b'model_checkpoint_path: "a\\377b"\n',
        "escaped": b'model_checkpoint_path: "/models/state/a\\303\\244\\"b"\n',
    }


def _sized() -> list[tuple[int, dtypes.DType]]:
    return [(n, d) for n, d in sorted(dtypes.BY_NUMBER.items()) if d.itemsize]


def _tensor(shape: tuple[int, ...], offset: int, **fields: int) -> bytes:
    body = SHARD[offset : offset + 4 * prod(shape)]
    return w.entry(shape, offset=offset, crc32c=w.mask(crc32c(body)), **fields)


def _sliced(
    name: str, shape: tuple[int, ...], boxes: Sequence[tuple[tuple[int, int] | None, ...]]
) -> list[tuple[bytes, bytes]]:
    pairs = []
    for number, box in enumerate(boxes):
        raw = [extent or (0, WHOLE) for extent in box]
        lengths = [e[1] if e else n for e, n in zip(box, shape, strict=True)]
        pairs.append((encode_key(name.encode(), raw), _tensor(tuple(lengths), 256 * number)))
    whole = w.entry(shape, size=0, slices=[w.box(*box) for box in boxes])
    return [*sorted(pairs), (name.encode(), whole)]
