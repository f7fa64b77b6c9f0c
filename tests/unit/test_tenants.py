"""Tenants share bytes and nothing else."""

from __future__ import annotations

import os
from contextlib import suppress

import pytest

from support.store import MemorySource, Stored
from tetris import shm
from tetris.errors import InvalidModelError, NotFoundError
from tetris.manifest import Claim
from tetrisd.segments import Segments
from tetrisd.settings import TenantSettings
from tetrisd.sources import StreamSource


@pytest.fixture
def stored(memory):
    opened = Stored(
        memory / "root",
        TenantSettings("red"),
        TenantSettings("blue"),
        TenantSettings("alone", sharing="tenant"),
    )
    yield opened
    opened.close()


def inode(stored, tenant, manifest):
    return (stored.path / "tenants" / tenant / manifest.tensors[0].segment).stat().st_ino


def test_equal_bytes_are_kept_once_for_those_that_share(stored):
    red = stored.publish("m", {"a": b"1234"}, "red")
    blue = stored.publish("m", {"a": b"1234"}, "blue")
    assert inode(stored, "red", red) == inode(stored, "blue", blue)
    assert stored.store.stats().segments == 1


def test_one_that_does_not_share_has_inodes_of_its_own(stored):
    """So neither link counts nor lock tables tell it of others, or others of it."""
    red = stored.publish("m", {"a": b"1234"}, "red")
    alone = stored.publish("m", {"a": b"1234"}, "alone")
    assert inode(stored, "red", red) != inode(stored, "alone", alone)
    assert stored.store.stats().segments == 2
    mapping = stored.map(alone.tensors[0].digest, "alone")
    assert [s.referenced for s in stored.tenant("red").segments_info()] == [False]
    del mapping


def test_a_fingerprint_never_resolves_to_what_another_tenant_published(stored):
    """It is a claim: one tenant may publish other bytes under another's fingerprint."""
    genuine = stored.publish("m", {"a": b"genuine!"}, "red")
    with pytest.raises(NotFoundError):
        stored.tenant("blue").attach(genuine.fingerprint, 1, "", "")
    forged, published = stored.tenant("blue").publish(MemorySource("m", {"a": b"evil!!!!"}))
    assert published
    assert forged.fingerprint == genuine.fingerprint
    _, answered = stored.tenant("red").attach(genuine.fingerprint, 1, "", "")
    assert answered == genuine


def test_the_other_way_round_it_gets_its_own_bytes(stored):
    stored.publish("m", {"a": b"evil!!!!"}, "blue")
    genuine = stored.publish("m", {"a": b"genuine!"}, "red")
    assert stored.map(genuine.tensors[0].digest, "red").buffer() == b"genuine!"


def test_sending_guesses_tells_nothing_of_another_tenants_bytes(stored):
    """Who knows size and checksum of a tensor sees the same, byte by byte, whatever it sends."""
    secret = b"the weights of red"
    stored.publish("m", {"a": secret}, "red")

    def seen(body):
        """The free space before each byte that it sends, in blocks."""
        free = []

        def chunks():
            for at in range(len(body)):
                free.append(os.statvfs(stored.path).f_bfree)
                yield body[at : at + 1]

        claim = Claim("a", "uint8", (len(body),), len(body), shm.crc32c(secret))
        source = StreamSource(os.urandom(32), "guess", [claim], chunks())
        with suppress(InvalidModelError):
            stored.tenant("blue").publish(source)
        return [blocks - free[0] for blocks in free]

    first = seen(bytes(len(secret)))
    assert seen(secret[:9] + bytes(len(secret) - 9)) == first
    assert seen(secret) == first
    assert stored.store.stats().segments == 1


def test_names_models_leases_and_numbers_stay_inside(stored):
    manifest = stored.publish("secret", {"a": b"1234"}, "red")
    lease = stored.attach(manifest, "red")
    blue = stored.tenant("blue")
    assert blue.info() == blue.leases.live() == blue.segments_info() == []
    with pytest.raises(NotFoundError):
        blue.models.lookup("secret")
    s = blue.stats()
    assert (s.models, s.leases, s.segments, s.references, s.resident, s.charged) == (0,) * 6
    del lease


def test_a_view_shows_what_its_tenant_has_published(stored):
    stored.publish("m", {"a": b"1234", "b": b"56"}, "red")
    blue = stored.publish("n", {"a": b"1234"}, "blue")
    assert stored.links("blue") == {blue.tensors[0].segment}


def test_whether_another_tenant_maps_a_shared_segment_is_not_told(stored):
    red = stored.publish("m", {"a": b"1234"}, "red")
    blue = stored.publish("m", {"a": b"1234"}, "blue")
    lease, mapping = stored.attach(red, "red"), stored.map(red.tensors[0].digest, "red")
    assert [s.referenced for s in stored.tenant("blue").segments_info()] == [False]
    assert stored.tenant("blue").stats().references == 0
    own = stored.attach(blue, "blue")
    assert [s.referenced for s in stored.tenant("blue").segments_info()] == [True]
    del lease, mapping, own


def test_a_lease_of_another_tenant_cannot_be_released(stored):
    manifest = stored.publish("m", {"a": b"1"}, "red")
    lease, _ = stored.tenant("red").attach(manifest.fingerprint, 1, "", "")
    with pytest.raises(NotFoundError):
        stored.tenant("blue").release(lease.id)
    assert len(stored.tenant("red").leases.live()) == 1


def test_a_segment_outlives_the_tenant_that_wrote_it(stored):
    stored.publish("m", {"a": b"1234"}, "red")
    blue = stored.publish("m", {"a": b"1234"}, "blue")
    stored.store.evict("red", "m")
    assert stored.links("red") == set()
    assert stored.links("blue") == stored.objects() == {blue.tensors[0].segment}


def test_a_tenant_that_stops_sharing_gets_inodes_of_its_own(stored):
    stored.publish("m", {"a": b"1234"}, "red")
    stored.publish("m", {"a": b"1234"}, "blue")
    stored.close()
    again = Stored(stored.path, TenantSettings("red"), TenantSettings("blue", sharing="tenant"))
    assert again.tenant("blue").models.all() == []
    assert again.links("blue") == set()
    red, blue = (again.publish("m", {"a": b"1234"}, t) for t in ("red", "blue"))
    assert inode(again, "red", red) != inode(again, "blue", blue)
    again.close()
    stored.open()


@pytest.mark.parametrize("what", ["stats", "collect", "look"])
def test_a_pool_that_comes_meanwhile_disturbs_no_walk_over_all_of_them(stored, monkeypatch, what):
    """A tenant that shares with nobody brings one, while others ask, publish and are looked at."""
    allocated, look = Segments.allocated, Segments.look

    def one_more():
        number = len(stored.store.tenants())
        stored.store.add([TenantSettings(f"new-{number}", sharing="tenant")])

    monkeypatch.setattr(Segments, "allocated", lambda pool: (one_more(), allocated(pool))[1])
    monkeypatch.setattr(Segments, "look", lambda pool: (one_more(), look(pool))[1])
    getattr(stored.store, what)()
