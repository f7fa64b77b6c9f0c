"""Publishing into a store, without a process and without gRPC: dedupe, refuse, leave nothing."""

from __future__ import annotations

import os

import pytest

from support.daemon import files_under
from support.store import MemorySource, Stored
from support.tmpfs import can_mount, tmpfs
from tetris import shm
from tetris.errors import (
    ConflictError,
    CorruptDataError,
    InvalidModelError,
    NoSpaceError,
    NotFoundError,
)
from tetris.manifest import Claim


@pytest.fixture
def tenant(stored):
    return stored.tenant()


def test_a_published_model_is_found_with_its_bytes(stored, tenant):
    manifest, published = tenant.publish(MemorySource("m", {"a": b"12345", "b": b""}))
    assert published
    a, b = manifest.tensors
    assert a.digest == shm.digest(b"12345")
    assert (b.nbytes, b.digest) == (0, b"")
    stored_file = stored.path / "objects/_shared" / a.segment
    assert stored_file.read_bytes() == b"12345"
    assert (stored.path / "tenants/default" / a.segment).samefile(stored_file)
    assert stored_file.stat().st_mode & 0o7777 == 0o444


def test_publishing_again_changes_nothing(stored, tenant):
    tenant.publish(MemorySource("m", {"a": b"1"}))
    before = files_under(stored.path)
    again = MemorySource("m", {"a": b"1"})
    manifest, published = tenant.publish(again)
    assert not published
    assert not again.filled
    assert manifest.name == "m"
    assert files_under(stored.path) == before


@pytest.mark.parametrize("rereadable", [True, False])
def test_equal_tensors_are_kept_once_within_and_across_models(stored, tenant, rereadable):
    body = os.urandom(10_000)
    first = MemorySource("m", {"a": body, "again": body, "b": b"x"}, rereadable=rereadable)
    second = MemorySource("n", {"other": body, "c": b"y"}, rereadable=rereadable)
    tenant.publish(first)
    tenant.publish(second)
    assert stored.store.stats().segments == 3
    assert len(stored.objects()) == 3
    if rereadable:  # a likely duplicate is compared first, and not written at all
        assert first.filled == [0, 2]
        assert second.filled == [1]


def test_equal_crc_and_size_with_other_bytes_is_another_segment(stored, tenant):
    """CRC32C is linear: these differ by a multiple of its polynomial, so they collide."""
    one = bytearray(64)
    two = bytearray(64)
    two[10:15] = (0x105EC76F1 << 3).to_bytes(5, "little")
    crcs = {shm.crc32c(one), shm.crc32c(two)}
    if len(crcs) == 2:  # find a collision by search over the remaining four bytes
        want = shm.crc32c(one)
        two = _collide(two, want)
    assert shm.crc32c(one) == shm.crc32c(two)
    assert one != two
    tenant.publish(MemorySource("m", {"a": bytes(one)}))
    manifest, _ = tenant.publish(MemorySource("n", {"a": bytes(two)}))
    assert stored.store.stats().segments == 2
    assert manifest.tensors[0].digest == shm.digest(two)


def _collide(data: bytearray, want: int) -> bytearray:
    """Solve the last four bytes so that the CRC32C of ``data`` is ``want`` (Gauss over GF(2))."""
    base = bytearray(data)
    base[-4:] = bytes(4)
    start = shm.crc32c(base)
    columns = []
    for bit in range(32):
        probe = bytearray(base)
        probe[-4 + bit // 8] ^= 1 << (bit % 8)
        columns.append((shm.crc32c(probe) ^ start, 1 << bit))
    target, solution = start ^ want, 0
    for position in range(32):
        pivot = next((c for c in columns if c[0] >> position & 1), None)
        if pivot is None:
            continue
        columns.remove(pivot)
        columns = [
            (v ^ pivot[0], m ^ pivot[1]) if v >> position & 1 else (v, m) for v, m in columns
        ]
        if target >> position & 1:
            target ^= pivot[0]
            solution ^= pivot[1]
    assert target == 0
    base[-4:] = solution.to_bytes(4, "little")
    return base


def test_wrong_bytes_are_refused_by_name_and_leave_nothing(stored, tenant):
    before = files_under(stored.path)
    source = MemorySource("m", {"good": b"1234", "bad": b"5678"})
    source.data[1] = b"567x"
    with pytest.raises(CorruptDataError, match="'bad'"):
        tenant.publish(source)
    assert files_under(stored.path) == before


def test_a_failed_publish_leaves_what_another_model_has(stored, tenant):
    tenant.publish(MemorySource("m", {"a": b"1234"}))
    before = files_under(stored.path)
    source = MemorySource("n", {"a": b"1234", "bad": b"5678"})
    source.data[1] = b"...."
    with pytest.raises(CorruptDataError):
        tenant.publish(source)
    assert files_under(stored.path) == before


def test_a_twin_is_held_to_its_checksum_too(stored, tenant):
    source = MemorySource("m", {"a": b"1234", "b": b"1234"})
    source.claims = [source.claims[0], Claim("b", "uint8", (4,), 4, 7, same_as=0)]
    with pytest.raises(CorruptDataError, match="'b'"):
        tenant.publish(source)
    assert files_under(stored.path) == set()


def test_admission_counts_equal_tensors_once(memory):
    body = os.urandom(10_000)
    stored = Stored(memory / "root", capacity=16_384)
    stored.publish("m", {"a": body, "b": body, "c": body})
    stored.tenant().change(stored.tenant().models.lookup("m"), pinned=True)
    with pytest.raises(NoSpaceError):
        stored.publish("n", {"a": os.urandom(5000)})
    stored.close()


def test_a_segment_made_by_one_that_failed_and_held_by_another_that_fails_goes(stored, tenant):
    """Whoever comes last cleans up, also what it did not make."""
    first = MemorySource("first", {"x": b"same", "bad": b"5678"})
    second = MemorySource("second", {"x": b"same", "bad": b"8765"})
    first.data[1] = second.data[1] = b"...."
    fill = first.fill

    def fill_while_another_fails(index, memory, total, progress):
        if index == 1:
            with pytest.raises(CorruptDataError):
                tenant.publish(second)
        fill(index, memory, total, progress)

    first.fill = fill_while_another_fails
    with pytest.raises(CorruptDataError):
        tenant.publish(first)
    assert files_under(stored.path) == set()


def test_a_publish_that_is_not_wanted_any_more_leaves_nothing(stored, tenant):
    looks = iter([True])
    with pytest.raises(ConflictError, match="given up"):
        tenant.publish(MemorySource("m", {"a": b"1", "b": b"2"}), wanted=lambda: next(looks, False))
    assert files_under(stored.path) == set()


def test_a_full_store_still_writes_leases():
    with tmpfs("size=2m") as small:
        if not can_mount():
            pytest.skip("needs leave to mount a small tmpfs")
        stored = Stored(small / "root")
        manifest = stored.publish("m", {"a": b"1"})
        free = stored.store._limits.room(0, files=1).nbytes
        stored.publish("big", {"a": bytes(free & ~4095)})
        for _ in range(20):
            stored.tenant().attach(manifest.fingerprint, 1, "", "")
        stored.close()


def test_what_cannot_fit_is_refused_before_a_byte_is_written(stored, tenant):
    fs = os.statvfs(stored.path)
    free = fs.f_bavail * fs.f_frsize
    source = MemorySource("m", {"a": b"1"})
    source.claims = [Claim("a", "uint8", (free + 1,), free + 1, 7)]
    with pytest.raises(NoSpaceError, match="leaves"):
        tenant.publish(source)
    assert not source.filled


def test_a_model_is_found_by_name_or_by_fingerprint(stored, tenant):
    manifest, _ = tenant.publish(MemorySource("m", {"a": b"1"}))
    assert tenant.models.lookup("m") == manifest
    assert tenant.models.lookup(manifest.fingerprint.hex()[:8]) == manifest
    with pytest.raises(NotFoundError, match="nothing"):
        tenant.models.lookup("nothing")


def test_a_fingerprint_has_32_bytes(stored, tenant):
    with pytest.raises(InvalidModelError, match="32"):
        tenant.attach(b"short", 1, "", "")
