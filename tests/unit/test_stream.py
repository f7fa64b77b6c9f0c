"""A stream is compared as it passes, and nothing of it is lost where it departs."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.store import PAGE, Stored
from support.tmpfs import can_mount, tmpfs
from tetris import shm
from tetris.errors import ConflictError, InvalidModelError
from tetris.manifest import Claim
from tetrisd import sources
from tetrisd.sources import StreamSource


def stream(name: str, tensors: list[bytes], size: int, crcs: list[int] | None = None):
    """The source of a publish by stream, in messages of ``size`` bytes."""
    data = b"".join(tensors)
    claims = [
        Claim(f"t{i}", "uint8", (len(b),), len(b), crcs[i] if crcs else shm.crc32c(b))
        for i, b in enumerate(tensors)
    ]
    chunks = (data[at : at + size] for at in range(0, len(data), size))
    return StreamSource(shm.digest(name.encode()), name, claims, iter(chunks))


@pytest.fixture
def twin(memory):
    """A mapping of 1,000 bytes."""
    fd = os.open(memory, os.O_RDONLY)
    made = shm.reserve(fd, ".twin", 1000)
    made.buffer()[:] = bytes(range(250)) * 4
    yield made
    os.close(fd)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    at=st.one_of(st.none(), st.integers(0, 999)),
    size=st.integers(1, 2100),
    after=st.binary(max_size=50),
)
def test_whatever_the_chunks_and_wherever_the_difference(twin, memory, at, size, after):
    body = bytearray(twin.buffer())
    if at is not None:
        body[at] ^= 1
    source = stream("m", [bytes(body), after], size)
    assert source.same(0, twin, lambda: None) == (at is None)
    fd = os.open(memory, os.O_RDONLY)
    try:
        if at is not None:
            assert not source.same(0, twin, lambda: None)  # it passes once
            assert filled(source, fd, 0, 1000) == bytes(body)
        if after:
            assert filled(source, fd, 1, len(after)) == after
    finally:
        os.close(fd)
    source.finish()


def filled(source, fd: int, index: int, nbytes: int) -> bytes:
    draft, total = shm.reserve(fd, ".draft", nbytes), shm.Sum()
    os.unlink(".draft", dir_fd=fd)
    source.fill(index, draft, total, lambda: None)
    assert total.result()[0] == shm.digest(draft.buffer())
    return bytes(draft.buffer())


def test_what_agreed_is_copied_in_steps_and_can_be_given_up(twin, memory, monkeypatch):
    monkeypatch.setattr(sources, "_STEP", 300)
    source = stream("m", [bytes(twin.buffer()[:999]) + b"!"], 90)
    assert not source.same(0, twin, lambda: None)
    copied = []

    def progress():
        copied.append(bytes(draft.buffer()))
        if len(copied) == 2:
            raise ConflictError("given up")

    fd = os.open(memory, os.O_RDONLY)
    draft = shm.reserve(fd, ".draft", 1000)
    with pytest.raises(ConflictError):
        source.fill(0, draft, shm.Sum(), progress)
    os.close(fd)
    body = bytes(twin.buffer())
    assert copied == [body[:n] + bytes(1000 - n) for n in (300, 600)]


def test_a_stream_that_ends_while_it_agrees_is_refused(twin):
    source = stream("m", [bytes(twin.buffer())[:400]], 100)
    source.claims = [Claim("t0", "uint8", (1000,), 1000, 1)]
    with pytest.raises(InvalidModelError, match="after 400 of 1000"):
        source.same(0, twin, lambda: None)


def test_what_is_resident_is_not_written_again(stored):
    body, other = os.urandom(10_000), os.urandom(10_000)
    stored.publish("m", {"a": body})
    manifest, _ = stored.tenant().publish(stream("n", [other, body], 999))
    assert [t.digest for t in manifest.tensors] == [shm.digest(other), shm.digest(body)]
    assert len(stored.objects()) == 2


def test_equal_size_and_checksum_with_other_bytes_is_another_segment(stored):
    """A forged checksum: it departs from the twin, and is found wrong where it is stored."""
    body = os.urandom(10_000)
    stored.publish("m", {"a": body})
    forged = bytes(5000) + body[5000:]
    with pytest.raises(InvalidModelError, match="CRC32C"):
        stored.tenant().publish(stream("n", [forged], 999, [shm.crc32c(body)]))
    assert len(stored.objects()) == 1


def test_version_2_needs_room_for_what_is_new_in_it():
    """Its large tensor would not fit a second time, and comes by stream all the same."""
    with tmpfs(f"size={2 * 1024 + 512}k") as small:
        if not can_mount():
            pytest.skip("needs leave to mount a small tmpfs")
        stored = Stored(small / "root")
        large, one, two = os.urandom(400 * PAGE), os.urandom(PAGE), os.urandom(PAGE)
        v1 = stored.publish("v1", {"large": large, "head": one})
        lease = stored.attach(v1)
        peak = 0

        def watched(chunks):
            nonlocal peak
            for chunk in chunks:
                fs = os.statvfs(small)
                peak = max(peak, (fs.f_blocks - fs.f_bfree) * fs.f_frsize)
                yield chunk

        fs = os.statvfs(small)
        before = (fs.f_blocks - fs.f_bfree) * fs.f_frsize
        source = stream("v2", [two, large], 64 * 1024)
        source._chunks = watched(source._chunks)
        stored.tenant().publish(source)
        assert peak - before <= PAGE  # the new head
        del lease
        stored.close()
