"""A lease lives while its lock is held or its ten seconds last."""

from __future__ import annotations

import os

import pytest

from tetris import shm
from tetris.errors import NoSpaceError, NotFoundError
from tetrisd.clock import Clock
from tetrisd.leases import PENDING_SECONDS, Leases
from tetrisd.root import Place, Root

SECOND = 1_000_000_000


@pytest.fixture
def place(memory):
    opened = Root(memory / "root")
    yield opened.tenant("default", 0o600)
    opened.close()


@pytest.fixture
def clock():
    return [1000 * SECOND]


@pytest.fixture
def leases(place, clock):
    leases = Leases(place.leases, place.view, Clock(lambda: clock[0], lambda: clock[0]))
    leases.limit = 3
    return leases


def hold(place: Place, lease: str) -> shm.Mapping:
    nbytes = os.stat(f"{lease}.lease", dir_fd=place.view).st_size
    return shm.map_segment(place.view, f"{lease}.lease", nbytes)


def test_a_new_lease_is_pending(leases):
    lease = leases.create(b"f" * 32, "m", 7, "serve", "box")
    assert leases.live() == [lease]
    assert lease.pending


def test_one_whose_lock_is_never_taken_ends_after_its_time(leases, clock, place):
    leases.create(b"f" * 32, "m", 7, "serve", "box")
    clock[0] += (PENDING_SECONDS - 1) * SECOND
    assert len(leases.live()) == 1
    clock[0] += 2 * SECOND
    assert leases.live() == []
    assert os.listdir(place.leases) == []
    assert os.listdir(place.view) == []


def test_one_that_is_held_stays_for_ever(leases, clock, place):
    lease = leases.create(b"f" * 32, "m", 7, "serve", "box")
    lock = hold(place, lease.id)
    clock[0] += 10_000 * SECOND
    assert [(x.id, x.pending, x.pid) for x in leases.live()] == [(lease.id, False, 7)]
    assert not leases.release(lease.id)
    del lock
    assert leases.release(lease.id)
    assert leases.live() == []


def test_one_whose_holder_died_young_ends_at_the_next_look(leases, place):
    lease = leases.create(b"f" * 32, "m", 7, "serve", "box")
    lock = hold(place, lease.id)
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


def write(place: Place, name: str, data: bytes) -> None:
    with open(os.open(name, os.O_WRONLY | os.O_CREAT, 0o444, dir_fd=place.leases), "wb") as file:
        file.write(data)


def test_a_damaged_lease_goes_at_the_next_start_and_a_foreign_file_stays(leases, place):
    write(place, "ab" * 8, b"not json")
    write(place, "notes.txt", b"mine")
    leases.load()
    assert leases.live() == []
    assert os.listdir(place.leases) == ["notes.txt"]
    assert leases.strangers() == ["notes.txt"]


def test_no_more_than_the_limit_are_open(leases, place, clock):
    held = [hold(place, leases.create(b"f" * 32, "m", 7, "", "").id) for _ in range(3)]
    with pytest.raises(NoSpaceError, match="3 leases are open"):
        leases.create(b"f" * 32, "m", 7, "", "")
    del held[0]
    leases.create(b"f" * 32, "m", 7, "", "")


def test_who_ended_and_how_is_told(place, clock):
    told = []
    times = Clock(lambda: clock[0], lambda: clock[0])
    leases = Leases(place.leases, place.view, times, lambda lease, died: told.append(died))
    leases.limit = 9
    leases.release(leases.create(b"f" * 32, "m", 7, "", "").id)
    hold(place, leases.create(b"f" * 32, "m", 7, "", "").id)
    leases.live()
    assert told == [False, True]


def test_a_clock_that_people_set_ends_no_lease(place):
    """Ages come from the time since boot."""
    wall = [10**18]
    leases = Leases(place.leases, place.view, Clock(lambda: wall[0], lambda: SECOND))
    leases.limit = 9
    leases.create(b"f" * 32, "m", 7, "", "")
    for jump in (10**18, -(10**18)):
        wall[0] += jump
        assert len(leases.live()) == 1
