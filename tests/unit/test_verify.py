"""Whatever happens to the files of a root is found, told, and never served."""

from __future__ import annotations

import os

import pytest

from support.store import MemorySource, Stored
from tetris.errors import ConflictError, NotFoundError
from tetrisd.settings import TenantSettings


@pytest.fixture
def stored(memory):
    opened = Stored(memory / "root", TenantSettings("red"), TenantSettings("blue"))
    yield opened
    opened.close()


def verify(stored, **what) -> dict[str, str]:
    return {
        finding.subject: finding.fault
        for checked in stored.store.verify(**what)
        for finding in checked.findings
    }


def alter(file, change):
    """As only root can: behind the mode, and with the times put back."""
    before = file.stat()
    file.chmod(0o644)
    with file.open("r+b") as out:
        change(out)
    file.chmod(0o444)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def flip(out):
    byte = out.read(1)
    out.seek(0)
    out.write(bytes([byte[0] ^ 1]))


@pytest.fixture
def pair(stored):
    """Two models of red; blue shares the segment ``a`` of the first."""
    m = stored.publish("m", {"a": b"aaaa", "b": b"bbbb"}, "red")
    stored.publish("m", {"a": b"aaaa"}, "blue")
    n = stored.publish("n", {"c": b"cccc"}, "red")
    return m, n


def file_of(stored, tensor):
    return stored.path / "objects/_shared" / tensor.segment


def test_a_whole_store_is_found_whole(stored, pair):
    checked = list(stored.store.verify())
    assert [f for c in checked for f in c.findings] == []
    assert checked[-1].done == checked[-1].total == 12


def test_a_flipped_bit_is_found_and_never_served_again(stored, pair):
    m, n = pair
    bad = m.tensors[0]
    alter(file_of(stored, bad), flip)
    found = verify(stored)
    assert list(found) == [f"objects/_shared/{bad.segment}"]
    assert "other bytes" in found[f"objects/_shared/{bad.segment}"]
    for tenant in ("red", "blue"):
        with pytest.raises(NotFoundError):
            stored.tenant(tenant).attach(m.fingerprint, 1, "", "")
        assert bad.segment not in stored.links(tenant)
    stored.tenant("red").attach(n.fingerprint, 1, "", "")
    assert stored.objects() == {n.tensors[0].segment}
    assert stored.store.stats().quarantined == 1


def test_a_damaged_model_is_published_anew(stored, pair):
    bad = pair[0].tensors[0]
    alter(file_of(stored, bad), flip)
    verify(stored)
    again = stored.publish("m", {"a": b"aaaa", "b": b"bbbb"}, "red")
    assert stored.map(again.tensors[0].digest, "red").buffer() == b"aaaa"
    assert verify(stored) == {}


@pytest.mark.parametrize("rereadable", [True, False])
def test_a_publish_that_meets_damage_does_not_rely_on_it(stored, pair, rereadable):
    """Nobody has verified anything yet: what a publish finds resident is compared."""
    bad = pair[0].tensors[0]
    alter(file_of(stored, bad), flip)
    with pytest.raises(ConflictError, match="try again"):
        stored.tenant("red").publish(MemorySource("o", {"a": b"aaaa"}, rereadable=rereadable))
    again, _ = stored.tenant("red").publish(MemorySource("o", {"a": b"aaaa"}))
    assert stored.map(again.tensors[0].digest, "red").buffer() == b"aaaa"


def test_who_maps_a_damaged_segment_keeps_it(stored, pair):
    bad = pair[0].tensors[1]
    mapping = stored.map(bad.digest, "red")
    alter(file_of(stored, bad), flip)
    verify(stored)
    assert mapping.buffer() == b"cbbb"


def test_a_truncated_segment_is_found(stored, pair):
    bad = pair[0].tensors[1]
    alter(file_of(stored, bad), lambda out: out.truncate(2))
    assert "2 bytes instead of 4" in verify(stored)[f"objects/_shared/{bad.segment}"]


def test_a_segment_that_is_gone_is_found(stored, pair):
    bad = pair[0].tensors[1]
    file_of(stored, bad).unlink()
    assert "is gone" in verify(stored)[f"objects/_shared/{bad.segment}"]
    assert [m.name for m in stored.tenant("red").models.all()] == ["n"]


def test_swapped_segments_are_found(stored, pair):
    one, two = (file_of(stored, m.tensors[0]) for m in pair)
    aside = one.with_name("." + "f" * 32)
    one.rename(aside)
    two.rename(one)
    aside.rename(two)
    assert {f"objects/_shared/{f.name}" for f in (one, two)} <= set(verify(stored))
    assert stored.tenant("red").models.all() == []


def test_a_link_in_the_place_of_a_segment_is_not_followed(stored, pair, tmp_path):
    bad = pair[0].tensors[1]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"bbbb")
    file_of(stored, bad).unlink()
    file_of(stored, bad).symlink_to(elsewhere)
    assert "no regular file" in verify(stored)[f"objects/_shared/{bad.segment}"]
    assert elsewhere.read_bytes() == b"bbbb"


def test_a_segment_that_others_could_write_to_is_not_served(stored, pair):
    bad = pair[0].tensors[1]
    file_of(stored, bad).chmod(0o666)
    assert "mode 666" in verify(stored)[f"objects/_shared/{bad.segment}"]


def test_a_removed_or_damaged_manifest_is_written_anew(stored, pair):
    directory = stored.path / "models/red"
    one, two = (directory / m.fingerprint.hex() for m in pair)
    one.unlink()
    two.write_bytes(b"damaged")
    found = verify(stored)
    assert set(found) == {f"models/red/{f.name}" for f in (one, two)}
    stored.restart()
    assert [m.name for m in stored.tenant("red").models.all()] == ["m", "n"]


def test_a_missing_link_is_put_back_and_a_false_one_replaced(stored, pair):
    view = stored.path / "tenants/red"
    missing, false = (view / t.segment for t in pair[0].tensors)
    missing.unlink()
    false.unlink()
    false.write_bytes(b"bbbb")
    found = verify(stored)
    assert found[f"tenants/red/{missing.name}"] == "was gone: linked again"
    assert found[f"tenants/red/{false.name}"] == "led elsewhere: replaced"
    for link, tensor in zip((missing, false), pair[0].tensors, strict=True):
        assert link.samefile(file_of(stored, tensor))


@pytest.mark.parametrize(
    "where", ["objects/_shared/x", "models/red/x", "leases/red/x", "tenants/red/x"]
)
def test_foreign_files_are_told_and_left_alone(stored, pair, where, tmp_path):
    file = stored.path / where
    for plant in (lambda: file.write_text("mine"), lambda: file.symlink_to(tmp_path), file.mkdir):
        plant()
        assert verify(stored) == {where: "is not ours: left alone"}
        stored.restart()
        assert os.path.lexists(file)
        assert len(stored.tenant("red").models.all()) == 2
        file.rmdir() if file.is_dir() and not file.is_symlink() else file.unlink()


def test_one_model_is_verified_alone(stored, pair):
    alter(file_of(stored, pair[0].tensors[0]), flip)
    assert verify(stored, tenant="red", model="n") == {}
    assert len(verify(stored, tenant="red", model="m")) == 1
    with pytest.raises(NotFoundError):
        verify(stored, tenant="red", model="nothing")


def test_damage_that_happened_while_no_daemon_ran_is_found(stored, pair):
    m, _ = pair
    stored.close()
    alter(file_of(stored, m.tensors[0]), flip)
    stored.open()
    assert len(verify(stored)) == 1


def test_collecting_empties_the_quarantine(stored, pair):
    alter(file_of(stored, pair[0].tensors[0]), flip)
    verify(stored)
    assert len(os.listdir(stored.path / "quarantine")) == 1
    stored.store.collect()
    assert os.listdir(stored.path / "quarantine") == []


def test_a_publish_that_relied_on_what_turns_out_damaged_fails_and_leaves_nothing(stored, pair):
    m, _ = pair
    bad = m.tensors[0]
    source = MemorySource("late", {"a": b"aaaa", "z": b"zzzz"})
    fill = source.fill

    def fill_while_it_is_found(index, memory, total, progress):
        alter(file_of(stored, bad), flip)
        assert len(verify(stored)) == 1
        fill(index, memory, total, progress)

    source.fill = fill_while_it_is_found
    with pytest.raises(Exception, match="try again"):
        stored.tenant("red").publish(source)
    source.fill = fill
    manifest, _ = stored.tenant("red").publish(source)
    assert stored.map(manifest.tensors[0].digest, "red").buffer() == b"aaaa"


def test_a_publish_between_two_lists_is_no_finding(stored, pair, monkeypatch):
    """The list of files is older than that of the models that name them."""
    pool = stored.tenant("red").segments
    files = pool.files

    def files_then_publish():
        yield from list(files())
        stored.publish("late", {"z": b"zzzz"}, "red")

    monkeypatch.setattr(pool, "files", files_then_publish)
    assert verify(stored) == {}
    assert "late" in [m.name for m in stored.tenant("red").models.all()]
