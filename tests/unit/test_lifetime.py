"""What stays and what goes: keep-alive, pins, eviction, collection; never what is used."""

from __future__ import annotations

import gc
import os

import pytest

from support.daemon import files_under
from support.store import Stored
from tetris.errors import ConflictError, InvalidModelError, NotFoundError
from tetrisd.settings import TenantSettings


def names(stored, tenant="default"):
    return [m.name for m in stored.tenant(tenant).models.all()]


def test_an_unused_model_goes_when_its_time_is_up(stored):
    stored.publish("m", {"a": b"1"})
    stored.times.pass_by(599)
    stored.store.look()
    assert names(stored) == ["m"]
    stored.times.pass_by(2)
    stored.store.look()
    assert files_under(stored.path) == set()


def test_time_counts_from_the_last_use(stored):
    manifest = stored.publish("m", {"a": b"1"})
    lease = stored.attach(manifest)
    stored.times.pass_by(10_000)
    stored.store.look()
    assert names(stored) == ["m"]
    del lease
    stored.store.look()
    stored.times.pass_by(599)
    stored.store.look()
    assert names(stored) == ["m"]
    stored.times.pass_by(2)
    stored.store.look()
    assert names(stored) == []


def test_time_counts_on_over_a_restart(stored):
    stored.publish("m", {"a": b"1"})
    stored.times.pass_by(400)
    stored.restart()
    stored.times.pass_by(201)
    stored.store.look()
    assert names(stored) == []


def test_a_clock_that_people_set_evicts_nothing(stored):
    stored.publish("m", {"a": b"1"})
    for jump in (10**18, -(10**18)):
        stored.times.wall += jump
        stored.store.look()
        stored.restart()
        stored.store.look()
        assert names(stored) == ["m"]


def test_a_model_may_have_a_time_of_its_own(stored):
    from support.store import MemorySource

    stored.tenant().publish(MemorySource("short", {"a": b"1"}), keep_alive=5)
    stored.publish("usual", {"a": b"1"})
    stored.times.pass_by(6)
    stored.store.look()
    assert names(stored) == ["usual"]
    with pytest.raises(InvalidModelError, match="keep-alive"):
        stored.tenant().publish(MemorySource("m", {"a": b"1"}), keep_alive=-1)


def test_a_pinned_model_stays_also_after_a_restart(stored):
    manifest = stored.publish("m", {"a": b"1"})
    stored.tenant().change(manifest, pinned=True)
    stored.restart()
    stored.times.pass_by(10_000)
    stored.store.look()
    assert stored.store.collect().models == 0
    with pytest.raises(ConflictError, match="unpin it first"):
        stored.store.evict("default", "m")
    stored.tenant().change(stored.tenant().models.lookup("m"), pinned=False)
    stored.store.look()
    assert files_under(stored.path) == set()


def test_pinning_is_no_use(stored):
    """Its time goes on from the last use once it is unpinned."""
    manifest = stored.publish("m", {"a": b"1"})
    stored.times.pass_by(300)
    changed = stored.tenant().change(manifest, pinned=True)
    assert stored.tenant().info_of(changed).idle == 300


def test_evicting_gives_back_what_nobody_else_names(stored):
    stored.publish("m", {"a": bytes(5000), "b": os.urandom(100)})
    n = stored.publish("n", {"a": bytes(5000)})
    done = stored.store.evict("default", "m")
    assert (done.removed, done.freed) == (True, 4096)
    assert stored.objects() == stored.links() == {n.tensors[0].segment}


def test_one_in_use_goes_with_its_last_user(stored):
    manifest = stored.publish("m", {"a": b"1"})
    lease = stored.attach(manifest)
    done = stored.store.evict("default", "m")
    assert (done.removed, done.leases) == (False, 1)
    stored.store.look()
    assert names(stored) == ["m"]
    del lease
    stored.store.look()
    assert files_under(stored.path) == set()


def test_a_segment_that_is_mapped_without_a_lease_outlives_its_model(stored):
    manifest = stored.publish("m", {"a": b"1234"})
    mapping = stored.map(manifest.tensors[0].digest)
    assert stored.store.evict("default", "m").removed
    assert names(stored) == []
    stored.store.look()
    assert stored.objects() == stored.links() == {manifest.tensors[0].segment}
    assert bytes(mapping.buffer()) == b"1234"
    del mapping
    stored.store.look()
    assert files_under(stored.path) == set()


def test_what_lingers_still_goes_after_a_restart(stored):
    manifest = stored.publish("m", {"a": b"1234"})
    mapping = stored.map(manifest.tensors[0].digest)
    stored.store.evict("default", "m")
    stored.restart()
    assert stored.objects() == {manifest.tensors[0].segment}
    del mapping
    stored.store.look()
    assert files_under(stored.path) == set()


def test_what_lingers_is_used_again_by_a_publish(stored):
    manifest = stored.publish("m", {"a": b"1234"})
    mapping = stored.map(manifest.tensors[0].digest)
    stored.store.evict("default", "m")
    stored.publish("n", {"a": b"1234"})
    del mapping
    stored.store.look()
    assert stored.objects() == stored.links() == {manifest.tensors[0].segment}


def test_a_model_that_shares_with_one_in_use_goes_all_the_same(stored):
    """Version 1 leaves, and what version 2 shares with it stays."""
    shared, old, new = bytes(8192), os.urandom(4096), os.urandom(4096)
    stored.publish("v1", {"a": shared, "b": old})
    v2 = stored.publish("v2", {"a": shared, "b": new})
    lease, mapping = stored.attach(v2), stored.map(v2.tensors[0].digest)
    stored.times.pass_by(601)
    stored.store.look()
    assert names(stored) == ["v2"]
    assert stored.objects() == {t.segment for t in v2.tensors}
    del lease, mapping


def test_collecting_takes_whatever_nobody_uses(stored):
    stored.publish("a", {"x": b"1"})
    used = stored.publish("b", {"x": b"1", "y": b"2"})
    lease = stored.attach(used)
    done = stored.store.collect()
    assert (done.models, done.segments) == (1, 0)
    del lease
    done = stored.store.collect()
    assert (done.models, done.segments, done.freed) == (1, 2, 8192)
    assert files_under(stored.path) == set()


def test_a_model_is_attached_or_gone_but_never_both(stored):
    manifest = stored.publish("m", {"a": b"1"})
    stored.tenant().attach(manifest.fingerprint, 1, "", "")  # pending, not locked yet
    assert not stored.store.evict("default", "m").removed
    stored.times.pass_by(11)
    stored.store.look()
    assert names(stored) == []  # the evict before gave it no further time
    with pytest.raises(NotFoundError):
        stored.tenant().attach(manifest.fingerprint, 1, "", "")


def test_a_tenant_that_is_configured_no_more_goes_with_its_last_user(memory):
    red, blue = TenantSettings("red"), TenantSettings("blue", sharing="tenant")
    stored = Stored(memory / "root", red, blue)
    stored.publish("r", {"a": b"1"}, "red")
    manifest = stored.publish("b", {"a": b"1"}, "blue")
    lease = stored.attach(manifest, "blue")
    stored.close()
    stored = Stored(memory / "root", red)
    assert [t.name for t in stored.store.tenants()] == ["red", "blue"]
    assert names(stored, "blue") == ["b"]
    del lease
    gc.collect()
    stored.store.look()
    stored.restart()
    assert [t.name for t in stored.store.tenants()] == ["red"]
    assert not (memory / "root/tenants/blue").exists()
    assert names(stored, "red") == ["r"]
    stored.close()
