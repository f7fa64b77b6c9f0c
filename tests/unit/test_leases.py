"""A lease lives while its lock is held or its ten seconds last."""

from __future__ import annotations

import os

import pytest

from tetris import shm
from tetris.errors import NotFoundError
from tetrisd.leases import PENDING_SECONDS, Leases
from tetrisd.root import Root

SECOND = 1_000_000_000


@pytest.fixture
def root(memory):
    opened = Root(memory / "root")
    yield opened
    opened.close()


@pytest.fixture
def clock():
    return [1000 * SECOND]


@pytest.fixture
def leases(root, clock):
    return Leases(root, lambda: clock[0])


def hold(root: Root, lease: str) -> shm.Mapping:
    nbytes = os.stat(f"{lease}.lease", dir_fd=root.view).st_size
    return shm.map_segment(root.view, f"{lease}.lease", nbytes)


def test_a_new_lease_is_pending(leases):
    lease = leases.create(b"f" * 32, "m", 7, "serve", "box")
    assert leases.live() == [lease]
    assert lease.pending


def test_one_whose_lock_is_never_taken_ends_after_its_time(leases, clock, root):
    leases.create(b"f" * 32, "m", 7, "serve", "box")
    clock[0] += (PENDING_SECONDS - 1) * SECOND
    assert len(leases.live()) == 1
    clock[0] += 2 * SECOND
    assert leases.live() == []
    assert os.listdir(root.leases) == []
    assert os.listdir(root.view) == []


def test_one_that_is_held_stays_for_ever(leases, clock, root):
    lease = leases.create(b"f" * 32, "m", 7, "serve", "box")
    lock = hold(root, lease.id)
    clock[0] += 10_000 * SECOND
    assert [(x.id, x.pending, x.pid) for x in leases.live()] == [(lease.id, False, 7)]
    assert not leases.release(lease.id)
    del lock
    assert leases.release(lease.id)
    assert leases.live() == []


def test_one_whose_holder_died_young_ends_at_the_next_look(leases, root):
    lease = leases.create(b"f" * 32, "m", 7, "serve", "box")
    lock = hold(root, lease.id)
    del lock
    assert leases.live() == []


def test_a_look_is_not_taken_for_a_holder(leases):
    leases.create(b"f" * 32, "m", 7, "serve", "box")
    assert [len(leases.live()) for _ in range(3)] == [1, 1, 1]


def test_a_second_release_says_there_is_none(leases):
    lease = leases.create(b"f" * 32, "m", 7, "serve", "box")
    assert leases.release(lease.id)
    with pytest.raises(NotFoundError):
        leases.release(lease.id)


@pytest.mark.parametrize("name", ["", "..", "../version", "a/b", ".x"])
def test_a_lease_is_never_a_path(leases, name):
    with pytest.raises(NotFoundError):
        leases.release(name)


def test_damaged_leases_that_nobody_holds_are_removed(leases, root):
    (root.path / "leases" / "abc").write_bytes(b"not json")
    assert leases.live() == []
    assert os.listdir(root.leases) == []
