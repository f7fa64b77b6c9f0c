"""The index of a tensor bundle: what it yields, and every lie it may tell."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bundle_writer as w
from tetris.errors import CorruptDataError, InvalidModelError, TetrisError
from tetris.formats import Bundle, Entry, bundle_pb2, decode_strings, dtypes, parse_index
from tetris.formats.bundle import MAX_STRING_BYTES, MAX_STRINGS
from tetris.formats.slices import Extents, encode_key

Cut = tuple[tuple[int, int] | None, ...]


def sliced(
    name: str, shape: Sequence[int], cuts: Sequence[Cut], **fields: Any
) -> list[tuple[bytes, bytes]]:
    """A partitioned tensor: its slices' data keys, then the tensor itself."""
    pairs = []
    for number, cut in enumerate(cuts):
        raw = [extent or (0, -1) for extent in cut]
        lengths = [extent[1] if extent else n for extent, n in zip(cut, [*shape, 1], strict=False)]
        pairs.append((encode_key(name.encode(), raw), w.entry(lengths, offset=number, **fields)))
    full = {"size": 0, "slices": [w.box(*cut) for cut in cuts], **fields}
    return [*sorted(pairs, key=itemgetter(0)), (name.encode(), w.entry(shape, **full))]


def only(data: bytes) -> Entry:
    bundle = parse_index(data)
    assert len(bundle.entries) == 1
    return bundle.entries[0]


def test_an_entry_says_all() -> None:
    """Name, dtype, shape, size, shard, offset and the unmasked checksum."""
    value = w.entry((2, 3), dtype=2, size=48, shard_id=1, offset=96, crc32c=w.mask(0xABCD))
    bundle = parse_index(w.index(("dense/kernel", value), shards=2))
    assert bundle == Bundle(2, (Entry("dense/kernel", "float64", (2, 3), 48, 1, 96, 0xABCD),))
    assert bundle.entries[0].stored == (bundle.entries[0],)


@pytest.mark.parametrize("number", sorted(dtypes.BY_NUMBER))
def test_every_dtype_has_a_name_and_a_size(number: int) -> None:
    """A tensor of three elements has three times the size of one."""
    dtype = dtypes.BY_NUMBER[number]
    size = 3 * dtype.itemsize or 7
    entry = only(w.index(("a", w.entry((3,), dtype=number, size=size))))
    assert (entry.dtype, entry.nbytes, entry.refusal) == (dtype.name, size, "")
    assert dtypes.BY_NAME[entry.dtype] is dtype


@pytest.mark.parametrize(
    "name", ["a/b/../c", "../../etc/passwd", ".", "..", "/", "ä/変数", " ", "a\n"]
)
def test_names_are_never_paths(name: str) -> None:
    """Slashes, dots and any other text are just a name."""
    assert only(w.index((name, w.entry()))).name == name


@pytest.mark.parametrize("shape", [(), (0,), (5, 0, 3), (1, 1, 1)])
def test_scalars_and_empty_tensors(shape: tuple[int, ...]) -> None:
    """Both are tensors like any other."""
    entry = only(w.index(("a", w.entry(shape))))
    assert (entry.shape, entry.nbytes) == (shape, 0 if 0 in shape else 4)


def test_more_than_4_gib() -> None:
    """Sizes and offsets are 64 bits wide."""
    entry = only(w.index(("a", w.entry((3 << 30,), offset=1 << 40))))
    assert (entry.nbytes, entry.offset) == (12 << 30, 1 << 40)


@pytest.mark.parametrize("number", [0, 20, 21, 34, 77, 101, 2**31 - 1, -5])
def test_a_dtype_that_cannot_be_shared_refuses_one_tensor(number: int) -> None:
    """The sentence names tensor and number; the others stay."""
    data = w.index(("bad/one", w.entry((2,), dtype=number, size=99)), ("good", w.entry()))
    bad, good = parse_index(data).entries
    assert "bad/one" in bad.refusal
    assert f"DataType {number})" in bad.refusal
    assert not good.refusal


def test_large_strings_refuse_one_tensor() -> None:
    """What does not fit into a manifest stays with TensorFlow."""
    refused = only(w.index(("a", w.entry(dtype=w.STRING, size=MAX_STRING_BYTES + 1))))
    assert "too many for a manifest" in refused.refusal
    assert not only(w.index(("a", w.entry(dtype=w.STRING, size=MAX_STRING_BYTES)))).refusal
    many = w.entry((MAX_STRINGS + 1,), dtype=w.STRING, size=MAX_STRING_BYTES)
    assert "strings, too many for a manifest" in only(w.index(("a", many))).refusal


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": -1}, "claims -1 bytes"),
        ({"size": -(2**63)}, "claims -9223372036854775808 bytes"),  # 2**63 on the wire
        ({"size": 2**63 - 1}, "claims 9223372036854775807 bytes"),
        ({"size": 23}, "claims 23 bytes for float32"),
        ({"size": 0}, "claims 0 bytes for float32"),
        ({"offset": -1}, "at offset -1"),
        ({"offset": 2**63 - 24}, "at offset 9223372036854775784"),
        ({"shard_id": 1}, "shard 1 of 1"),
        ({"shard_id": -1}, "shard -1 of 1"),
        ({"dtype": w.STRING, "size": 9}, "6 strings in 9 bytes"),
        ({"shape": w.shape_of([2, -1])}, "impossible shape"),
        ({"shape": w.shape_of([2**62, 2])}, "impossible shape"),
        ({"shape": w.shape_of([2**62, 2**62, 0]), "size": 0}, "impossible shape"),
        ({"shape": w.shape_of([-(2**63)])}, "impossible shape"),
        ({"shape": w.shape_of([1] * 255)}, "impossible rank"),
        ({"shape": b"\x18\x01"}, "impossible rank"),
        ({"shape": b"\x12\x05"}, "cannot be read"),
    ],
)
def test_sizes_that_lie_are_refused(fields: dict[str, Any], message: str) -> None:
    """Each names the tensor and what is wrong."""
    with pytest.raises(InvalidModelError, match=f"layer/w.*{message}"):
        parse_index(w.index(("layer/w", w.entry((2, 3), **fields))))


@pytest.mark.parametrize(
    "fields",
    [{"size": -1}, {"offset": -1}, {"shard_id": 1}, {"shape": w.shape_of([-1])}],
)
def test_lies_about_unknown_dtypes_are_refused(fields: dict[str, Any]) -> None:
    """Where a tensor is said to be is checked also when it cannot be shared."""
    with pytest.raises(InvalidModelError, match="layer/w"):
        parse_index(w.index(("layer/w", w.entry((2, 3), **{"dtype": 77, **fields}))))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((b"a", b"a"), "twice or out of order"),
        ((b"b", b"a", b"c"), "twice or out of order"),
        ((b"a\0b",), "contains NUL"),
        ((b"\0a",), "belongs to no tensor"),
        ((b"a\xff",), "not UTF-8"),
        ((b"\xed\xa0\x80",), "not UTF-8"),
    ],
)
def test_names_that_cannot_be(names: Sequence[bytes], message: str) -> None:
    """Duplicates, NUL, and what is no text."""
    with pytest.raises(InvalidModelError, match=message):
        parse_index(w.index(*[(name, w.entry()) for name in names]))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"endianness": 1}, "big-endian"),
        ({"endianness": 5}, "big-endian"),
        ({"shards": 0}, "0 shards"),
        ({"shards": -1}, "-1 shards"),
        ({"version": bundle_pb2.Version(producer=9, min_consumer=2)}, "reader of version 2"),
        ({"version": bundle_pb2.Version(bad_consumers=[1])}, "reader of version"),
    ],
)
def test_headers_that_cannot_be_read(fields: dict[str, Any], message: str) -> None:
    """A header that asks for another machine or another reader is refused by name."""
    with pytest.raises(InvalidModelError, match=message):
        parse_index(w.index(("a", w.entry()), **fields))


@pytest.mark.parametrize("data", [w.assemble([]), w.table([(b"a", w.entry())])])
def test_a_table_without_header_is_no_index(data: bytes) -> None:
    """The header is what makes a table a bundle."""
    with pytest.raises(InvalidModelError, match="no header"):
        parse_index(data)


@pytest.mark.parametrize("value", [b"\xff", b"\x08", b"\x12\xff\x01"])
def test_messages_that_do_not_parse(value: bytes) -> None:
    """Neither header nor entry."""
    with pytest.raises(InvalidModelError, match="key b'a' cannot be read"):
        parse_index(w.index(("a", value)))
    with pytest.raises(InvalidModelError, match="key b'' cannot be read"):
        parse_index(w.table([(b"", value)]))


def test_a_huge_entry_is_not_even_parsed() -> None:
    """A million dimensions would cost a hundred times their size in memory."""
    with pytest.raises(InvalidModelError, match="cannot be read"):
        parse_index(w.index(("a", w.entry([1] * 300_000))))


# Slices


@pytest.mark.parametrize(
    ("shape", "cuts", "extents"),
    [
        ((4, 3), [((0, 1), None), ((1, 3), None)], [((0, 1), (0, 3)), ((1, 3), (0, 3))]),
        ((4, 3), [(None, (0, 2)), (None, (2, 1))], [((0, 4), (0, 2)), ((0, 4), (2, 1))]),
        ((2, 2), [((0, 2), (0, 1)), (None, (1, 1))], [((0, 2), (0, 1)), ((0, 2), (1, 1))]),
        ((0, 3), [((0, 0), None)], [((0, 0), (0, 3))]),
    ],
    ids=["axis 0", "axis 1", "spelled out", "empty"],
)
def test_a_partitioned_tensor_is_one_entry(
    shape: Sequence[int], cuts: Sequence[Cut], extents: list[Extents]
) -> None:
    """With the slices in the order listed, and no entry for a slice of its own."""
    entry = only(w.index(*sliced("v", shape, cuts)))
    assert [part.extents for part in entry.slices] == extents
    assert [part.offset for part in entry.slices] == list(range(len(cuts)))
    assert entry.nbytes == sum(part.nbytes for part in entry.slices)
    assert (entry.shard, entry.offset, entry.crc32c, entry.refusal) == (-1, 0, 0, "")
    assert entry.stored == entry.slices


@pytest.mark.parametrize(
    ("cuts", "message"),
    [
        ([((0, 2), None)], "overlap or leave holes"),
        ([((0, 2), None), ((3, 1), None)], "overlap or leave holes"),
        ([((0, 3), None), ((2, 2), None)], "overlap or leave holes"),
        ([((0, 4), None), ((0, 4), (0, 3)), (None, (0, 3))], "overlap or leave holes"),
        ([((0, 2), None), ((2, 3), None)], "outside of"),
        ([((2**62, 2**62), None)], "outside of"),
        ([((-1, 2), None)], "outside of"),
        ([((0, -2), None)], "outside of"),
        ([((1, -1), None)], "outside of"),
        ([((0, 4),)], "slice of rank 1"),
        ([(None, None, None)], "slice of rank 3"),
    ],
)
def test_slices_that_do_not_tile(cuts: Sequence[Cut], message: str) -> None:
    """Overlaps, holes, boxes outside of the tensor or of another rank."""
    pairs = sliced("v", (4, 3), cuts)
    with pytest.raises(InvalidModelError, match=f"tensor v .*{message}"):
        parse_index(w.index(*pairs))


def test_slices_without_data_or_listed_twice() -> None:
    """Every listed slice needs data of its own."""
    *_, full = sliced("v", (4,), [((0, 2),), ((2, 2),)])
    with pytest.raises(InvalidModelError, match="twice or without data"):
        parse_index(w.index(full))
    part, _ = sliced("v", (4,), [((0, 2),)])
    twice = w.entry((4,), size=0, slices=[w.box((0, 2)), w.box((0, 2))])
    with pytest.raises(InvalidModelError, match="twice or without data"):
        parse_index(w.index(part, ("v", twice)))


def test_slice_data_nobody_lists() -> None:
    """A key that starts with NUL has to belong to somebody."""
    with pytest.raises(InvalidModelError, match="belongs to no tensor"):
        parse_index(w.index(*sliced("v", (4,), [((0, 4),)])[:1]))


@pytest.mark.parametrize(
    "lie",
    [{"dtype": 3}, {"shape": w.shape_of([1, 8])}, {"size": 4}, {"shard_id": 1}, {"offset": -1}],
)
def test_slices_that_contradict_their_tensor(lie: dict[str, Any]) -> None:
    """Dtype, shape, size and place of a slice are checked like a tensor's."""
    (key, _), (name, full) = sliced("v", (2, 4), [((0, 2), None)])
    with pytest.raises(InvalidModelError, match="tensor v "):
        parse_index(w.index((key, w.entry((2, 4), **lie)), (name, full)))


@pytest.mark.parametrize(
    ("number", "message"), [(w.STRING, "strings in slices"), (77, "DataType 77")]
)
def test_slices_of_what_cannot_be_shared(number: int, message: str) -> None:
    """They refuse their own tensor and no other."""
    pairs = sliced("v", (4,), [((0, 4),)], dtype=number)
    refused, good = parse_index(w.index(*pairs, ("w", w.entry()))).entries
    assert message in refused.refusal
    assert not good.refusal


def test_cuts_along_many_axes_are_left_to_tensorflow() -> None:
    """Checking them would cost exponential work."""
    pairs = sliced("v", [2] * 5, [((0, 1),) * 5])
    assert "more than 4 axes" in only(w.index(*pairs)).refusal


# Strings


def string_entry(shape: Sequence[int], crc: int, nbytes: int) -> Entry:
    return Entry("words", "string", tuple(shape), nbytes, 0, 0, crc)


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_strings_read_back(elements: list[bytes]) -> None:
    """Any elements, empty ones too, in row-major order."""
    data, crc = w.strings(*elements)
    entry = string_entry([len(elements), 1], crc, len(data))
    assert decode_strings(entry, data) == tuple(elements)


def test_no_strings_in_no_bytes() -> None:
    """An empty tensor may have nothing stored."""
    assert decode_strings(string_entry([0], 0, 0), b"") == ()


def test_every_flipped_bit_in_strings_is_refused() -> None:
    """Lengths and bytes are both covered by a checksum."""
    data, crc = w.strings(b"one", b"", b"three" * 40)
    entry = string_entry([3], crc, len(data))
    for bit in range(8 * len(data)):
        broken = bytearray(data)
        broken[bit // 8] ^= 1 << bit % 8
        with pytest.raises(InvalidModelError, match="words"):
            decode_strings(entry, bytes(broken))


def test_every_truncation_of_strings_is_refused() -> None:
    """Also one that leaves whole elements."""
    data, crc = w.strings(b"one", b"two")
    for length in range(len(data)):
        with pytest.raises(InvalidModelError, match="words"):
            decode_strings(string_entry([2], crc, length), data[:length])


def test_wrong_string_checksums_name_the_tensor() -> None:
    """The checksum of the lengths and that of everything are told apart."""
    data, crc = w.strings(b"one")
    with pytest.raises(CorruptDataError, match="words does not match"):
        decode_strings(string_entry([1], crc ^ 1, len(data)), data)
    with pytest.raises(CorruptDataError, match="words: the checksum of its lengths"):
        decode_strings(string_entry([1], crc, len(data)), data[:1] + b"\0\0\0\0" + data[5:])


# Anything at all


def small_index() -> bytes:
    pairs = sliced("v", (2, 3), [((0, 1), None), ((1, 1), None)], shard_id=1)
    return w.index(*pairs, ("w", w.entry((2,), crc32c=7)), shards=2)


def test_every_truncation_of_an_index_is_refused() -> None:
    """No prefix of an index is an index."""
    data = small_index()
    parse_index(data)
    for length in range(len(data)):
        with pytest.raises(TetrisError):
            parse_index(data[:length])


def test_every_flipped_bit_in_an_index_is_refused_or_harmless() -> None:
    """The result is the same or an error of ours."""
    data = small_index()
    whole = parse_index(data)
    for bit in range(8 * len(data)):
        broken = bytearray(data)
        broken[bit // 8] ^= 1 << bit % 8
        with contextlib.suppress(TetrisError):
            assert parse_index(bytes(broken)) == whole


def test_every_flipped_bit_behind_valid_checksums() -> None:
    """The same for a hostile writer: each bit of each message, with checksums made to fit."""
    pairs = sliced("v", (2, 3), [((0, 1), None), ((1, 1), None)])
    for number, (name, value) in enumerate(pairs):
        for bit in range(8 * len(value)):
            broken = bytearray(value)
            broken[bit // 8] ^= 1 << bit % 8
            lie = [*pairs[:number], (name, bytes(broken)), *pairs[number + 1 :]]
            with contextlib.suppress(TetrisError):
                parse_index(w.index(*lie))


@given(st.dictionaries(st.binary(min_size=1, max_size=40), st.binary(max_size=80), max_size=5))
def test_arbitrary_entries_raise_nothing_else(entries: dict[bytes, bytes]) -> None:
    """Whatever the messages are, the error is one of ours."""
    with contextlib.suppress(TetrisError):
        parse_index(w.index(*sorted(entries.items())))


@given(st.binary(max_size=300), st.lists(st.integers(0, 2**40), max_size=3))
def test_arbitrary_strings_raise_nothing_else(data: bytes, shape: list[int]) -> None:
    """Nor the strings, however many there are said to be."""
    with contextlib.suppress(TetrisError):
        decode_strings(string_entry(shape, 0, len(data)), data)
