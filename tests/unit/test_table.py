"""The sorted string table reader."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bundle_writer as w
from tetris.errors import CorruptDataError, InvalidModelError, TetrisError
from tetris.formats.table import read_table, read_varint, unmask

PAIRS = [(f"layer_{i:03}/kernel".encode(), bytes([i]) * i) for i in range(70)]


def read(data: bytes) -> list[tuple[bytes, bytes]]:
    return list(read_table(data, "x.index"))


@pytest.mark.parametrize("per_block", [1, 3, 70])
@pytest.mark.parametrize("interval", [1, 2, 16, 100])
def test_entries_come_back_in_order(per_block: int, interval: int) -> None:
    """Any division into blocks and restarts gives the same pairs."""
    assert read(w.table(PAIRS, per_block=per_block, interval=interval)) == PAIRS


@given(st.dictionaries(st.binary(max_size=300), st.binary(max_size=300), max_size=60))
def test_any_table_reads_back(pairs: dict[bytes, bytes]) -> None:
    """What is written is read, for any keys and values."""
    ordered = sorted(pairs.items())
    data = w.table(ordered, per_block=7) if ordered else w.assemble([])
    assert read(data) == ordered


def test_an_empty_table_has_no_entries() -> None:
    """No blocks, and a block of nothing, are both fine."""
    assert read(w.assemble([])) == []
    assert read(w.assemble([(b"a", w.block([]))])) == []


def test_the_checksum_of_a_checksum_is_unmasked() -> None:
    """Unmask undoes mask for every bit position."""
    for crc in [0, 0xFFFFFFFF, *(1 << bit for bit in range(32))]:
        assert unmask(w.mask(crc)) == crc


@pytest.mark.parametrize("value", [0, 127, 128, 300, 2**32, 2**64 - 1])
def test_varints_read_back(value: int) -> None:
    """Up to 64 bits a varint is what it was."""
    data = w.varint(value)
    assert read_varint(data + b"\x01", 0, len(data), "x") == (value, len(data))


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xff" * 10, w.varint(2**64), b"\x80" * 11])
def test_a_varint_that_does_not_end_is_refused(data: bytes) -> None:
    """Cut short or beyond 64 bits."""
    with pytest.raises(InvalidModelError):
        read_varint(data, 0, len(data), "x")


def test_every_truncation_is_refused() -> None:
    """A prefix of a table is never a table."""
    data = w.table(PAIRS[:9], per_block=4)
    for length in range(len(data)):
        with pytest.raises(TetrisError, match=r"x\.index"):
            read(data[:length])


def test_every_flipped_bit_is_refused_or_harmless() -> None:
    """A flipped bit in what is read is an error; in padding and metaindex it changes nothing."""
    pairs = PAIRS[:9]
    data = w.table(pairs, per_block=4)
    refused = 0
    for bit in range(8 * len(data)):
        broken = bytearray(data)
        broken[bit // 8] ^= 1 << bit % 8
        try:
            assert read(bytes(broken)) == pairs
        except TetrisError:
            refused += 1
    assert refused > 8 * (len(data) - 80)


def test_a_broken_block_is_corrupt_data() -> None:
    """A block that fails its checksum is told apart from a file that never was a table."""
    data = bytearray(w.table(PAIRS))
    data[10] ^= 1
    with pytest.raises(CorruptDataError, match=r"x\.index: the block at 0 does not match"):
        read(bytes(data))


def test_snappy_is_refused_by_name() -> None:
    """The message says what it is and what to do."""
    with pytest.raises(InvalidModelError, match=r"compressed with snappy.*save it uncompressed"):
        read(w.table(PAIRS, compression=1))


def test_other_compressions_are_refused() -> None:
    """A compression nobody knows."""
    with pytest.raises(InvalidModelError, match="unknown compression 7"):
        read(w.table(PAIRS, compression=7))


def test_another_kind_of_file_is_refused() -> None:
    """The magic number is at the end."""
    with pytest.raises(InvalidModelError, match="cut short or something else"):
        read(w.assemble([], magic=1))


@pytest.mark.parametrize(
    "pairs",
    [[(b"a", b""), (b"a", b"")], [(b"b", b""), (b"a", b"")], [(b"", b""), (b"", b"")]],
    ids=["twice", "unsorted", "empty twice"],
)
@pytest.mark.parametrize("per_block", [1, 2])
def test_keys_must_ascend(pairs: list[tuple[bytes, bytes]], per_block: int) -> None:
    """Twice or out of order, within a block and across blocks."""
    with pytest.raises(InvalidModelError):
        read(w.table(pairs, per_block=per_block))


def test_a_key_outside_its_block_is_refused() -> None:
    """The index block says which keys a block may hold."""
    with pytest.raises(InvalidModelError, match="not in the block"):
        read(w.assemble([(b"b", w.block([(b"c", b"")]))]))


@pytest.mark.parametrize(
    "handle",
    [(0, 1 << 20), (1 << 20, 4), (2**63, 2**63), (2**64 - 1, 2**64 - 1)],
)
def test_handles_past_the_end_are_refused(handle: tuple[int, int]) -> None:
    """Offsets and sizes are compared before they are used."""
    with pytest.raises(InvalidModelError, match="past the end"):
        read(w.assemble([(b"a", w.block([(b"a", b"")]))], handles=[handle]))


def test_one_block_cannot_be_read_many_times() -> None:
    """Handles must ascend and not overlap, or a small file could cost any amount of work."""
    body = w.block([])
    with pytest.raises(InvalidModelError, match="overlap"):
        read(w.assemble([(b"a", body), (b"b", body)], handles=[(0, len(body) - 5)] * 2))


@pytest.mark.parametrize("restarts", [3, 2**31, 2**32 - 1])
def test_too_many_restarts_are_refused(restarts: int) -> None:
    """The restart array cannot be larger than the block."""
    body = w.raw_block(b"\0" * 4 + restarts.to_bytes(4, "little"))
    with pytest.raises(InvalidModelError, match="restarts"):
        read(w.assemble([(b"a", body)]))


def test_entries_without_restarts_are_refused() -> None:
    """A reader that searches would see none of them."""
    body = w.raw_block(b"\0\1\0a" + bytes(4))
    with pytest.raises(InvalidModelError, match="restarts"):
        read(w.assemble([(b"a", body)]))


@pytest.mark.parametrize("size", range(4))
def test_blocks_too_small_for_their_count_are_refused(size: int) -> None:
    """Even an empty block says how many restarts it has."""
    with pytest.raises(InvalidModelError, match="restarts"):
        read(w.assemble([(b"a", w.raw_block(bytes(size)))]))


@pytest.mark.parametrize(
    "entry",
    [b"\0", b"\0\1", b"\1\0\0", b"\0\2\0a", b"\0\1\2aa", b"\0" + w.varint(2**40) + b"\0a"],
    ids=["1 byte", "2 bytes", "nothing to share", "key", "value", "huge key"],
)
def test_entries_past_their_block_are_refused(entry: bytes) -> None:
    """Lengths within an entry are compared with what is left of the block."""
    body = w.raw_block(entry + bytes(4) + (1).to_bytes(4, "little"))
    with pytest.raises(InvalidModelError, match="an entry"):
        read(w.assemble([(b"\xff", body)]))


def test_keys_cannot_grow_into_a_bomb() -> None:
    """Few bytes each that stand for a long shared key are refused before memory is gone."""
    long = b"a" * 5000
    bomb = [(long + i.to_bytes(3, "big"), b"") for i in range(2000)]
    with pytest.raises(InvalidModelError, match="more bytes than there are"):
        read(w.table(bomb, per_block=len(bomb), interval=len(bomb)))
    assert read(w.table(bomb[:32])) == bomb[:32]


@given(st.binary(max_size=400), st.booleans())
def test_arbitrary_bytes_raise_nothing_else(data: bytes, footer: bool) -> None:
    """Whatever the bytes are, the error is one of ours."""
    if footer:
        data += w.assemble([])[-8:]
    with contextlib.suppress(TetrisError):
        read(data)


@given(st.binary(max_size=200), st.binary(max_size=30))
def test_arbitrary_blocks_raise_nothing_else(contents: bytes, value: bytes) -> None:
    """The same behind valid checksums, where the inner checks are all there is."""
    for data in (
        w.assemble([(b"\xff" * 9, w.raw_block(contents))]),
        w.assemble([(b"\xff" * 9, w.raw_block(contents + b"\0\0\0\0\1\0\0\0"))]),
    ):
        with contextlib.suppress(TetrisError):
            read(data)
    body = w.block([(b"a", value)], interval=1)
    footer = w.varint(0) + w.varint(4) + w.varint(0) + w.varint(len(body) - 5)
    with contextlib.suppress(TetrisError):
        read(body + footer.ljust(40, b"\0") + w.assemble([])[-8:])
