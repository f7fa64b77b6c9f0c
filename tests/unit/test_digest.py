"""Checksums against the official ``blake3`` package and a CRC32C computed bit by bit."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import blake3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tetris import shm
from tetris.errors import InvalidModelError, SystemCallError

Buffer = bytes | memoryview

CHUNK = 1024
# 32 chunks are a batch and its partner: the seams of the tree lie at multiples of this.
STEP = 32 * CHUNK
DATA = random.Random(2).randbytes(12 * STEP)

sizes = st.one_of(
    st.integers(0, 4 * CHUNK),
    st.integers(0, len(DATA) - 64),
    st.builds(lambda k, d: max(0, k * CHUNK + d), st.integers(0, 300), st.integers(-1, 1)),
)
cuts = st.lists(st.one_of(st.integers(0, len(DATA)), st.sampled_from((CHUNK, STEP))), max_size=6)


def crc_by_bits(data: Buffer) -> int:
    """The definition, one bit at a time."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def crc_by_bytes(data: Buffer) -> int:
    """``crc_by_bits`` with the eight bits of a byte looked up."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 255]
    return crc ^ 0xFFFFFFFF


def _shifted(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    return byte


TABLE = [_shifted(byte) for byte in range(256)]


def expected(data: Buffer) -> tuple[bytes, int]:
    return blake3.blake3(data).digest(), crc_by_bytes(data)


def pieces(data: memoryview, at: list[int]) -> Iterator[memoryview]:
    """``data`` cut at positions ``at``, in order."""
    edges = [0, *sorted(min(cut, len(data)) for cut in at), len(data)]
    for start, end in pairwise(edges):
        yield data[start:end]


@pytest.fixture(params=shm.digest_paths(), autouse=True, scope="module")
def path(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every test runs on every path of this CPU."""
    shm.select_digest_path(request.param)
    yield request.param
    shm.select_digest_path(shm.digest_paths()[0])


@pytest.fixture(scope="module")
def mapping() -> Iterator[shm.Mapping]:
    """A writable segment larger than ``DATA``."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        dirfd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield shm.reserve(dirfd, ".segment", len(DATA) + 4096)
        finally:
            os.close(dirfd)


@pytest.fixture(scope="module")
def file() -> Iterator[int]:
    """A descriptor of a file that holds ``DATA``."""
    with tempfile.TemporaryFile() as stream:
        stream.write(DATA)
        stream.flush()
        yield stream.fileno()


@settings(max_examples=300, deadline=None)
@given(size=sizes, offset=st.integers(0, 63))
def test_digest_equals_the_official_package(size: int, offset: int) -> None:
    """Any size at any alignment has the official digest."""
    data = memoryview(DATA)[offset : offset + size]
    assert shm.digest(data) == blake3.blake3(data).digest()


@settings(max_examples=100, deadline=None)
@given(size=sizes, offset=st.integers(0, 63), at=cuts)
def test_sum_does_not_depend_on_chunking(size: int, offset: int, at: list[int]) -> None:
    """A stream has the checksums of its bytes, however it is cut."""
    data = memoryview(DATA)[offset : offset + size]
    running = shm.Sum()
    for piece in pieces(data, at):
        running.update(piece)
    assert running.result() == expected(data)


@settings(max_examples=60, deadline=None)
@given(size=sizes, source=st.integers(0, 63), target=st.integers(0, 63), at=cuts)
def test_copy_sums_what_it_wrote(
    mapping: shm.Mapping, size: int, source: int, target: int, at: list[int]
) -> None:
    """The fused copy copies, and sums the same bytes, at any alignment and chunking."""
    data = memoryview(DATA)[source : source + size]
    mapping.buffer()[target + size] = guard = 0xA5
    running, position = shm.Sum(), target
    for piece in pieces(data, at):
        running.copy(mapping, position, piece)
        position += len(piece)
    assert mapping.buffer()[target : target + size] == data
    assert mapping.buffer()[target + size] == guard
    assert running.result() == expected(data)


@settings(max_examples=20, deadline=None)
@given(size=sizes, position=st.integers(0, 63), cut=st.integers(0, len(DATA)))
def test_pread_and_skim_sum_the_file(
    mapping: shm.Mapping, file: int, size: int, position: int, cut: int
) -> None:
    """Reading into a segment and reading for the checksum alone agree with the file."""
    first = min(size, cut)
    kept, skimmed = shm.Sum(), shm.Sum()
    kept.pread(mapping, 0, file, position, first, "data")
    kept.pread(mapping, first, file, position + first, size - first, "data")
    skimmed.skim(file, position, size, "data")
    data = DATA[position : position + size]
    assert mapping.buffer()[:size] == data
    assert kept.result() == skimmed.result() == expected(data)


def test_a_file_that_ends_early_is_an_error(mapping: shm.Mapping, file: int) -> None:
    """A range past the end of the file raises, whether it is kept or not."""
    with pytest.raises(InvalidModelError, match="ends before"):
        shm.Sum().pread(mapping, 0, file, 1, len(DATA), "data")
    with pytest.raises(InvalidModelError, match="ends before"):
        shm.Sum().skim(file, len(DATA), 1, "data")


def test_copy_beyond_the_mapping_is_refused(mapping: shm.Mapping) -> None:
    """Nothing is written outside a segment."""
    with pytest.raises(InvalidModelError, match="do not fit"):
        shm.Sum().copy(mapping, mapping.nbytes - 3, b"four")
    with pytest.raises(InvalidModelError, match="do not fit"):
        shm.Sum().copy(mapping, -1, b"four")


def test_crc32c_of_known_strings() -> None:
    """The check value of the catalogue, and those of RFC 3720."""
    assert shm.crc32c(b"123456789") == 0xE3069283
    assert shm.crc32c(bytes(32)) == 0x8A9136AA
    assert shm.crc32c(b"\xff" * 32) == 0x62A8AB43
    assert shm.crc32c(bytes(range(32))) == 0x46DD794E


@settings(max_examples=60, deadline=None)
@given(size=st.integers(0, 20000), offset=st.integers(0, 15), cut=st.integers(0, 20000))
def test_crc32c_continues(size: int, offset: int, cut: int) -> None:
    """A CRC continued over two parts is that of the whole."""
    data = DATA[offset : offset + size]
    assert shm.crc32c(data[cut:], shm.crc32c(data[:cut])) == crc_by_bytes(data)


def test_reference_crc_is_the_definition() -> None:
    """The table that these tests use agrees with the bits."""
    assert crc_by_bytes(DATA[:2000]) == crc_by_bits(DATA[:2000])


def test_result_may_be_asked_at_any_time() -> None:
    """A result does not disturb the stream."""
    running = shm.Sum()
    for end in range(CHUNK // 2, 5 * STEP, 3 * CHUNK // 2):
        running.update(DATA[end - CHUNK // 2 : end])
        running.update(DATA[end : end + CHUNK])
        assert running.result()[0] == blake3.blake3(DATA[: end + CHUNK]).digest()


def test_unknown_path_is_refused(path: str) -> None:
    """A name that this CPU does not have is an error, and changes nothing."""
    with pytest.raises(SystemCallError, match="abacus"):
        shm.select_digest_path("abacus")
    assert path in shm.digest_paths()
    assert shm.digest_paths()[-1] == "portable"


def test_vectors_of_the_c_tests_are_official() -> None:
    """The committed table is what its script writes."""
    lines = (Path(__file__).parents[2] / "csrc/tests/blake3_vectors.h").read_text().splitlines()
    rows = [line.strip(' {},"').split(', "') for line in lines if line.startswith("    {")]
    assert len(rows) == 35
    for size, digest in rows:
        data = bytes(i % 251 for i in range(int(size)))
        assert blake3.blake3(data).hexdigest() == digest
