"""A publish gets its room before its first byte, or a refusal that says what is missing."""

from __future__ import annotations

import os

import pytest

from support.store import MemorySource, Stored
from support.tmpfs import can_mount, tmpfs
from tetris.errors import NoSpaceError
from tetrisd.settings import TenantSettings

PAGE = 4096


def random(pages: int) -> bytes:
    return os.urandom(pages * PAGE)


@pytest.fixture
def ten(memory):
    """A store that holds ten pages."""
    opened = Stored(memory / "root", capacity=10 * PAGE)
    yield opened
    opened.close()


@pytest.fixture
def two(memory):
    """Two tenants, each with a quota of six pages, in a store of ten."""
    opened = Stored(
        memory / "root",
        TenantSettings("red", quota=6 * PAGE),
        TenantSettings("blue", quota=6 * PAGE),
        capacity=10 * PAGE,
    )
    yield opened
    opened.close()


def names(stored, tenant="default"):
    return [m.name for m in stored.tenant(tenant).models.all()]


def test_room_is_made_by_the_least_recently_used(ten):
    ten.publish("old", {"a": random(4)})
    ten.times.pass_by(5)
    ten.publish("new", {"a": random(4)})
    ten.times.pass_by(5)
    ten.publish("next", {"a": random(4)})
    assert names(ten) == ["new", "next"]


def test_what_is_used_or_pinned_is_not_room_and_is_named(ten):
    used = ten.publish("used", {"a": random(4)})
    lease = ten.attach(used)
    pinned = ten.publish("pinned", {"a": random(3)})
    ten.tenant().change(pinned, pinned=True)
    ten.publish("idle", {"a": random(1)})
    source = MemorySource("big", {"a": random(5)})
    with pytest.raises(NoSpaceError) as refused:
        ten.tenant().publish(source)
    assert str(refused.value) == (
        f"model big needs {5 * PAGE} bytes and the capacity of the store leaves {2 * PAGE}; "
        f"{PAGE} more could be freed, the rest is held by used (1 leases), pinned (pinned)"
    )
    assert not source.filled
    assert names(ten) == ["used", "pinned", "idle"]
    del lease


def test_a_mapped_segment_is_no_room(ten):
    manifest = ten.publish("m", {"a": random(6)})
    mapping = ten.map(manifest.tensors[0].digest)
    with pytest.raises(NoSpaceError, match="0 more could be freed"):
        ten.publish("n", {"a": random(6)})
    del mapping
    ten.publish("n", {"a": random(6)})
    assert names(ten) == ["n"]


def test_room_that_is_made_does_not_take_what_the_publish_relies_on(ten):
    """Version 1 goes for version 2, and the tensor that both have is not written again."""
    shared = random(4)
    ten.publish("v1", {"a": shared, "b": random(5)})
    source = MemorySource("v2", {"a": shared, "b": random(6)})
    ten.tenant().publish(source)
    assert source.filled == [1]
    assert names(ten) == ["v2"]


def test_promises_count_before_they_are_written(ten):
    """Two publishes at once are not both promised the same room."""
    first = MemorySource("first", {"a": random(6)})
    second = MemorySource("second", {"a": random(6)})
    fill = first.fill

    def fill_while_another_asks(index, memory, total, progress):
        with pytest.raises(NoSpaceError):
            ten.tenant().publish(second)
        fill(index, memory, total, progress)

    first.fill = fill_while_another_asks
    ten.tenant().publish(first)
    assert names(ten) == ["first"]
    ten.publish("third", {"a": random(1)})
    ten.store.evict("default", "first")
    ten.tenant().publish(second)


def test_a_failed_publish_gives_its_promise_back(ten):
    source = MemorySource("m", {"a": random(8)})
    source.data[0] = bytes(8 * PAGE)
    with pytest.raises(Exception, match="CRC32C"):
        ten.tenant().publish(source)
    assert ten.tenant().charged() == 0
    ten.publish("n", {"a": random(10)})


def test_a_tenant_is_charged_for_all_it_published_shared_or_not(two):
    body = random(4)
    two.publish("m", {"a": body}, "red")
    two.publish("m", {"a": body}, "blue")
    assert two.store.stats().resident == 4 * PAGE
    assert [two.tenant(t).charged() for t in ("red", "blue")] == [4 * PAGE] * 2


def test_a_quota_is_made_room_in_by_the_tenants_own_models(two):
    two.publish("other", {"a": random(3)}, "blue")
    two.publish("first", {"a": random(4)}, "red")
    two.times.pass_by(5)
    two.publish("second", {"a": random(4)}, "red")
    assert names(two, "red") == ["second"]
    assert names(two, "blue") == ["other"]


def test_a_quota_refuses_and_tells_nothing_of_others(two):
    secret = two.publish("secret", {"a": random(6)}, "blue")
    lease = two.attach(secret, "blue")
    with pytest.raises(NoSpaceError, match="the quota of red leaves") as refused:
        two.publish("big", {"a": random(7)}, "red")
    assert "nothing that is published here" in str(refused.value)
    with pytest.raises(NoSpaceError, match="held by other tenants") as refused:
        two.publish("big", {"a": random(5)}, "red")
    assert "secret" not in str(refused.value)
    assert "blue" not in str(refused.value)
    del lease


@pytest.mark.parametrize(("pages", "fits"), [(9, True), (8, False)])
def test_what_only_others_have_takes_the_room_of_its_largest_when_sent(memory, pages, fits):
    """Each is stored and then found to be there, so one of them at a time is there twice."""
    stored = Stored(
        memory / "root",
        TenantSettings("red"),
        TenantSettings("blue", quota=6 * PAGE),
        capacity=pages * PAGE,
    )
    tensors = {"a": random(3), "b": random(1), "c": random(2)}
    lease = stored.attach(stored.publish("m", tensors, "red"), "red")
    sent = MemorySource("m", tensors, rereadable=False)
    if fits:
        stored.tenant("blue").publish(sent)
        assert sent.filled == [0, 1, 2]
    else:
        with pytest.raises(NoSpaceError, match=f"needs {3 * PAGE} bytes"):
            stored.tenant("blue").publish(sent)
        assert sent.filled == []
    stored.tenant("blue").publish(MemorySource("n", tensors))  # from files that are read twice
    assert stored.store.stats().resident == 6 * PAGE
    del lease
    stored.close()


def test_a_charge_lasts_as_long_as_a_mapping(two):
    manifest = two.publish("m", {"a": random(4)}, "red")
    mapping = two.map(manifest.tensors[0].digest, "red")
    two.store.evict("red", "m")
    two.store.look()
    assert two.tenant("red").charged() == 4 * PAGE
    del mapping
    two.store.look()
    assert two.tenant("red").charged() == 0


def test_a_full_tmpfs_is_made_room_in_like_any_other_limit():
    with tmpfs("size=1m") as small:
        if not can_mount():
            pytest.skip("needs leave to mount a small tmpfs")
        stored = Stored(small / "root")
        stored.publish("m", {"a": random(150)})
        stored.publish("n", {"a": random(150)})
        assert names(stored) == ["n"]
        with pytest.raises(NoSpaceError, match="the tmpfs leaves"):
            stored.publish("o", {"a": random(300)})
        assert names(stored) == ["n"]
        stored.close()


def test_the_host_keeps_its_headroom(memory):
    stored = Stored(memory / "root", headroom=1 << 50)
    with pytest.raises(NoSpaceError, match="the memory of this host leaves 0"):
        stored.publish("m", {"a": b"1"})
    stored.close()
