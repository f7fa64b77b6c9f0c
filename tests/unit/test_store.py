"""The store, without a process and without gRPC: publish, dedupe, refuse, recover."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest

from support.daemon import files_under
from support.tmpfs import can_mount, tmpfs
from tetris import shm
from tetris.errors import (
    ConflictError,
    CorruptDataError,
    InvalidModelError,
    NoSpaceError,
    NotAllowedError,
    NotFoundError,
)
from tetris.manifest import Claim
from tetrisd.mount import mount_of
from tetrisd.root import Root
from tetrisd.store import Store


class MemorySource:
    """Tensors as bytes; ``filled`` says which were stored."""

    def __init__(self, name: str, tensors: dict[str, bytes], *, rereadable: bool = True) -> None:
        self.fingerprint = shm.digest(name.encode())
        self.name = name
        self.data = list(tensors.values())
        self.claims: Sequence[Claim] = [
            Claim(n, "uint8", (len(b),), len(b), shm.crc32c(b)) for n, b in tensors.items()
        ]
        self.rereadable = rereadable
        self.filled: list[int] = []

    def same(self, index, memory, progress):
        return self.rereadable and memory.buffer() == self.data[index]

    def fill(self, index, memory, total, progress):
        self.filled.append(index)
        total.copy(memory, 0, self.data[index])

    def finish(self):
        pass


@pytest.fixture
def root(memory):
    opened = Root(memory / "root")
    yield opened
    opened.close()


@pytest.fixture
def store(root):
    made = Store(root)
    made.recover()
    return made


def test_a_published_model_is_found_with_its_bytes(store, root):
    manifest, published = store.publish(MemorySource("m", {"a": b"12345", "b": b""}))
    assert published
    a, b = manifest.tensors
    assert a.digest == shm.digest(b"12345")
    assert (b.nbytes, b.digest) == (0, b"")
    stored = (root.path / "objects" / a.segment).read_bytes()
    assert stored == b"12345"
    assert (root.path / "tenants/default" / a.segment).samefile(root.path / "objects" / a.segment)
    assert os.stat(root.path / "objects" / a.segment).st_mode & 0o7777 == 0o444


def test_publishing_again_changes_nothing(store, root):
    store.publish(MemorySource("m", {"a": b"1"}))
    before = files_under(root.path)
    again = MemorySource("m", {"a": b"1"})
    manifest, published = store.publish(again)
    assert not published
    assert not again.filled
    assert manifest.name == "m"
    assert files_under(root.path) == before


@pytest.mark.parametrize("rereadable", [True, False])
def test_equal_tensors_are_kept_once_within_and_across_models(store, root, rereadable):
    body = os.urandom(10_000)
    first = MemorySource("m", {"a": body, "again": body, "b": b"x"}, rereadable=rereadable)
    second = MemorySource("n", {"other": body, "c": b"y"}, rereadable=rereadable)
    store.publish(first)
    store.publish(second)
    assert store.stats().segments == 3
    assert len(os.listdir(root.objects)) == 3
    if rereadable:  # a likely duplicate is compared first, and not written at all
        assert first.filled == [0, 2]
        assert second.filled == [1]


def test_equal_crc_and_size_with_other_bytes_is_another_segment(store):
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
    store.publish(MemorySource("m", {"a": bytes(one)}))
    manifest, _ = store.publish(MemorySource("n", {"a": bytes(two)}))
    assert store.stats().segments == 2
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


def test_wrong_bytes_are_refused_by_name_and_leave_nothing(store, root):
    before = files_under(root.path)
    source = MemorySource("m", {"good": b"1234", "bad": b"5678"})
    source.data[1] = b"567x"
    with pytest.raises(CorruptDataError, match="'bad'"):
        store.publish(source)
    assert files_under(root.path) == before


def test_a_failed_publish_leaves_what_another_model_has(store, root):
    store.publish(MemorySource("m", {"a": b"1234"}))
    before = files_under(root.path)
    source = MemorySource("n", {"a": b"1234", "bad": b"5678"})
    source.data[1] = b"...."
    with pytest.raises(CorruptDataError):
        store.publish(source)
    assert files_under(root.path) == before


def test_a_twin_is_held_to_its_checksum_too(store, root):
    source = MemorySource("m", {"a": b"1234", "b": b"1234"})
    source.claims = [source.claims[0], Claim("b", "uint8", (4,), 4, 7, same_as=0)]
    with pytest.raises(CorruptDataError, match="'b'"):
        store.publish(source)
    assert files_under(root.path) == set()


def test_admission_counts_equal_tensors_once(store, root, monkeypatch):
    body = os.urandom(1000)
    monkeypatch.setattr(store._segments, "room", lambda files: 1500)
    store.publish(MemorySource("m", {"a": body, "b": body, "c": body}))
    with pytest.raises(NoSpaceError):
        store.publish(MemorySource("n", {"a": os.urandom(1000), "b": os.urandom(1000)}))


def test_a_segment_made_by_one_that_failed_and_held_by_another_that_fails_goes(store, root):
    """Whoever comes last cleans up, also what it did not make."""
    first = MemorySource("first", {"x": b"same", "bad": b"5678"})
    second = MemorySource("second", {"x": b"same", "bad": b"8765"})
    first.data[1] = second.data[1] = b"...."
    fill = first.fill

    def fill_while_another_fails(index, memory, total, progress):
        if index == 1:
            with pytest.raises(CorruptDataError):
                store.publish(second)
        fill(index, memory, total, progress)

    first.fill = fill_while_another_fails
    with pytest.raises(CorruptDataError):
        store.publish(first)
    assert files_under(root.path) == set()


def test_a_publish_that_is_not_wanted_any_more_leaves_nothing(store, root):
    looks = iter([True])
    with pytest.raises(ConflictError, match="given up"):
        store.publish(MemorySource("m", {"a": b"1", "b": b"2"}), wanted=lambda: next(looks, False))
    assert files_under(root.path) == set()


def test_a_full_store_still_writes_leases(memory):
    with tmpfs("size=2m") as small:
        if not can_mount():
            pytest.skip("needs leave to mount a small tmpfs")
        root = Root(small / "root")
        store = Store(root)
        manifest, _ = store.publish(MemorySource("m", {"a": b"1"}))
        big = MemorySource("big", {"a": bytes(store._segments.room(files=1) & ~4095)})
        store.publish(big)
        for _ in range(20):
            store.attach(manifest.fingerprint, 1, "", "")
        root.close()


def test_what_cannot_fit_is_refused_before_a_byte_is_written(store, root):
    free = os.fstatvfs(root.objects).f_bavail * os.fstatvfs(root.objects).f_frsize
    source = MemorySource("m", {"a": b"1"})
    source.claims = [Claim("a", "uint8", (free + 1,), free + 1, 7)]
    with pytest.raises(NoSpaceError, match="free"):
        store.publish(source)
    assert not source.filled


def test_a_second_daemon_is_told_who_has_the_root(root):
    with pytest.raises(ConflictError, match=f"pid {os.getpid()}"):
        Root(root.path)


def test_a_root_of_somebody_else_is_refused(memory):
    if os.geteuid() != 0:
        pytest.skip("needs leave to give a directory away")
    theirs = memory / "theirs"
    theirs.mkdir()
    os.chown(theirs, 65534, 65534)
    victim = memory / "victim"
    victim.write_text("precious")
    (theirs / ".version").symlink_to(victim)
    with pytest.raises(NotAllowedError, match="belongs to user 65534"):
        Root(theirs)
    assert victim.read_text() == "precious"


def test_a_root_that_others_may_write_is_refused(memory):
    (memory / "open").mkdir()
    (memory / "open").chmod(0o777)
    with pytest.raises(NotAllowedError, match="mode 777"):
        Root(memory / "open")


def test_a_symlink_in_the_root_is_not_followed(memory):
    Root(memory / "root").close()
    (memory / "root" / "leases").rmdir()
    (memory / "root" / "leases").symlink_to(memory)
    with pytest.raises(NotAllowedError, match="leases"):
        Root(memory / "root")


@pytest.mark.parametrize(
    ("socket_mode", "view_mode"), [(0o600, 0o700), (0o660, 0o750), (0o666, 0o755)]
)
def test_who_may_not_open_the_socket_may_not_enter_the_view(memory, socket_mode, view_mode):
    Root(memory / "root", socket_mode).close()
    view = memory / "root" / "tenants" / "default"
    assert view.stat().st_mode & 0o777 == view_mode


def test_a_root_must_be_on_a_tmpfs(tmp_path):
    if mount_of(tmp_path.stat().st_dev, "tmp").kind == "tmpfs":
        pytest.skip("needs a temporary directory that is no tmpfs")
    with pytest.raises(InvalidModelError, match="tmpfs"):
        Root(tmp_path / "root")


def test_a_root_of_a_newer_layout_is_refused(memory):
    Root(memory / "root").close()
    (memory / "root" / "version").write_text("2\n")
    with pytest.raises(InvalidModelError, match="layout 2"):
        Root(memory / "root")


def test_a_restart_finds_everything(root, memory):
    store = Store(root)
    manifest, _ = store.publish(MemorySource("m", {"a": b"1234"}))
    lease, _ = store.attach(manifest.fingerprint, 1, "cmd", "host")
    root.close()
    again = Root(memory / "root")
    try:
        store = Store(again)
        store.recover()
        assert store.model("m") == manifest
        assert [found.id for found in store.leases()] == [lease.id]
        assert not store.publish(MemorySource("m", {"a": b"1234"}))[1]
    finally:
        again.close()
    root.__init__(memory / "root")  # for the fixture's close


def test_recovery_sweeps_what_was_not_finished(root, store):
    manifest, _ = store.publish(MemorySource("m", {"a": b"1234"}))
    objects, view = root.path / "objects", root.path / "tenants/default"
    (objects / ".draft").write_bytes(b"half")
    (objects / ("ab" * 32)).write_bytes(b"named by no model")
    (view / ("cd" * 32)).write_bytes(b"linked to nothing")
    (root.path / "leases" / ".half").write_bytes(b"{")
    (view / manifest.tensors[0].segment).unlink()
    (root.path / "models/default" / ("ef" * 32)).write_bytes(b"damaged")
    Store(root).recover()
    assert files_under(root.path) == {
        f"objects/{manifest.tensors[0].segment}",
        f"tenants/default/{manifest.tensors[0].segment}",
        f"models/default/{manifest.fingerprint.hex()}",
    }


def test_a_manifest_whose_segment_is_gone_is_dropped(root, store):
    manifest, _ = store.publish(MemorySource("m", {"a": b"1234"}))
    os.unlink(root.path / "objects" / manifest.tensors[0].segment)
    fresh = Store(root)
    fresh.recover()
    with pytest.raises(NotFoundError):
        fresh.attach(manifest.fingerprint, 1, "", "")


def test_a_model_is_found_by_name_or_by_fingerprint(store):
    manifest, _ = store.publish(MemorySource("m", {"a": b"1"}))
    assert store.model("m") == manifest
    assert store.model(manifest.fingerprint.hex()[:8]) == manifest
    with pytest.raises(NotFoundError, match="nothing"):
        store.model("nothing")


def test_a_fingerprint_has_32_bytes(store):
    with pytest.raises(InvalidModelError, match="32"):
        store.attach(b"short", 1, "", "")
