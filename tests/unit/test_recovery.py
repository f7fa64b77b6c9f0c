"""A start on what an earlier daemon left: everything whole is taken over, every half is swept."""

from __future__ import annotations

import os

import pytest

from support.daemon import files_under
from support.layouts import to_layout_1
from support.store import MemorySource
from tetris.errors import NotFoundError


def test_a_restart_finds_everything(stored):
    manifest = stored.publish("m", {"a": b"1234"})
    lease, _ = stored.tenant().attach(manifest.fingerprint, 1, "cmd", "host")
    stored.restart()
    tenant = stored.tenant()
    assert tenant.models.lookup("m") == manifest
    assert [found.id for found in tenant.leases.live()] == [lease.id]
    assert not tenant.publish(MemorySource("m", {"a": b"1234"}))[1]


def test_recovery_sweeps_what_was_not_finished(stored):
    manifest = stored.publish("m", {"a": b"1234"})
    objects, view = stored.path / "objects/_shared", stored.path / "tenants/default"
    (objects / ".draft").write_bytes(b"half")
    (objects / ("ab" * 32)).write_bytes(b"named by no model")
    (view / ("cd" * 32)).write_bytes(b"linked to nothing")
    (stored.path / "leases/default" / ".half").write_bytes(b"{")
    (view / manifest.tensors[0].segment).unlink()
    (stored.path / "models/default" / ("ef" * 32)).write_bytes(b"damaged")
    stored.restart()
    assert files_under(stored.path) == {
        f"objects/_shared/{manifest.tensors[0].segment}",
        f"tenants/default/{manifest.tensors[0].segment}",
        f"models/default/{manifest.fingerprint.hex()}",
    }


def test_a_manifest_whose_segment_is_gone_is_dropped(stored):
    manifest = stored.publish("m", {"a": b"1234"})
    os.unlink(stored.path / "objects/_shared" / manifest.tensors[0].segment)
    stored.restart()
    with pytest.raises(NotFoundError):
        stored.tenant().attach(manifest.fingerprint, 1, "", "")


@pytest.mark.parametrize("half", [False, True], ids=["whole", "half-moved"])
def test_a_root_of_the_first_layout_is_brought_up_to_date(stored, half):
    """Under a client that has it mapped and leased, and also after a crash on the way."""
    manifest = stored.publish("m", {"a": b"1234", "b": b"56"})
    lease, _ = stored.tenant().attach(manifest.fingerprint, 1, "cmd", "host")
    lock = stored.lock(lease)
    mapping = stored.map(manifest.tensors[0].digest)
    stored.close()
    to_layout_1(stored.path)
    if half:
        first = next((stored.path / "objects").iterdir())
        (stored.path / "objects/_shared").mkdir()
        first.rename(stored.path / "objects/_shared" / first.name)
    stored.open()
    tenant = stored.tenant()
    assert tenant.models.lookup("m") == manifest
    assert [(x.id, x.pending) for x in tenant.leases.live()] == [(lease.id, False)]
    assert bytes(mapping.buffer()) == b"1234"
    assert stored.objects() == {t.segment for t in manifest.tensors}
    assert [p for p in (stored.path / "objects").iterdir() if p.is_file()] == []
    del lock


def test_what_an_older_daemon_wrote_of_last_uses_is_no_age(stored):
    """It wrote wall-clock times, which lie far ahead of the time since boot."""
    manifest = stored.publish("m", {"a": b"1234"})
    file = stored.path / "models/default" / manifest.fingerprint.hex()
    os.utime(file, ns=(0, stored.times.wall))
    stored.restart()
    assert stored.tenant().info()[0].idle == 0
    stored.times.pass_by(601)
    stored.store.look()
    assert stored.tenant().models.all() == []


@pytest.mark.parametrize("kind", ["directory", "link", "file", "fifo"])
@pytest.mark.parametrize(
    "where",
    [
        "objects/_shared/" + "ab" * 32,
        "objects/_shared/.draft",
        "objects/stranger",
        "models/default/" + "ab" * 32,
        "models/default/.draft",
        "models/Stranger",
        "leases/default/" + "ab" * 8,
        "leases/default/.draft",
        "tenants/default/" + "ab" * 32,
        "tenants/default/" + "ab" * 8 + ".lease",
        "tenants/Stranger",
        "quarantine/stranger",
        "stranger",
    ],
)
def test_no_foreign_file_keeps_a_daemon_from_starting(stored, where, kind, tmp_path):
    manifest = stored.publish("m", {"a": b"1234"})
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    file = stored.path / where
    plant = {
        "directory": file.mkdir,
        "link": lambda: file.symlink_to(victim),
        "file": lambda: file.write_bytes(b"?"),
        "fifo": lambda: os.mkfifo(file),
    }
    plant[kind]()
    stored.restart()
    list(stored.store.verify())
    stored.store.collect()
    assert victim.read_bytes() == b"precious"
    again = stored.publish("m", {"a": b"1234"})
    assert again.tensors == manifest.tensors
    stored.attach(again)


def test_a_link_that_leads_elsewhere_is_not_shown_after_a_start(stored):
    manifest = stored.publish("m", {"a": b"1234"})
    link = stored.path / "tenants/default" / manifest.tensors[0].segment
    link.unlink()
    link.write_bytes(b"evil")
    stored.restart()
    assert stored.map(manifest.tensors[0].digest).buffer() == b"1234"
