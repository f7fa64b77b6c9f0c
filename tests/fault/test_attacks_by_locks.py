"""What a hostile client may try with locks and file leases: it makes nobody wait."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.daemon import wait_until
from support.hostile import by_locks as attacks
from tetris import errors, shm
from tetris.v1 import tetris_pb2 as pb

MANY = 10_000


@pytest.fixture
def pending(target):
    """A lease that nobody has taken; the link to it in the view."""
    answer = target.call("Attach", pb.AttachRequest(fingerprint=target.model.manifest.fingerprint))
    yield f"{answer.lease}.lease"
    if (target.view / f"{answer.lease}.lease").exists():
        target.call("Release", pb.ReleaseRequest(lease=answer.lease))


def leases_on(inode: int) -> list[str]:
    """The kernel's file leases on an inode; one that somebody waits for says BREAKING."""
    lines = Path("/proc/locks").read_text().splitlines()
    return [line for line in lines if " LEASE " in line and line.split()[-3].endswith(f":{inode}")]


@pytest.mark.parametrize(
    "attack", [attacks.take_an_ofd_write_lock, attacks.take_a_posix_write_lock]
)
def test_nobody_takes_a_write_lock(target, place, attack):
    """Removal alone takes one: a client's would look like a remover's and stop every attach."""
    lease = f"{target.model._attachment.lease}.lease"
    with target.unharmed():
        for name in (*target.segments, lease):
            assert target.hostile.tries(place, attack, name) == "EBADF"


def test_an_exclusive_flock_stops_nobody(target, place, pending):
    """The kernel gives it to a reader; nothing of ours asks for that kind of lock on it."""
    names = (*target.segments, pending)
    with target.hostile.holds(place, attacks.hold_an_exclusive_flock, *names) as held:
        assert held == ["done", len(names)]
        target.works_for_others()
        lease = pending.removesuffix(".lease")
        target.call("Release", pb.ReleaseRequest(lease=lease))
        assert not (target.view / pending).exists()


def test_an_exclusive_flock_on_the_directories_stops_nobody(target, place):
    with (
        target.unharmed(),
        target.hostile.holds(place, attacks.hold_an_exclusive_flock_on_directories) as held,
    ):
        assert held == ["done", 2]
        target.works_for_others()


def test_ten_thousand_read_locks_stop_nobody(target, place):
    """They are one reference: others attach, the daemon counts, a remover is refused at once."""
    segment = target.segments[1]
    with (
        target.unharmed(),
        target.hostile.holds(place, attacks.hold_many_read_locks, segment, MANY) as held,
    ):
        assert held == ["done", MANY]
        for _ in range(5):
            target.works_for_others()
        assert referenced(target, segment)
        refuses_removal(target, segment)
    wait_until(lambda: not referenced(target, segment), what="the end of the reference")


def referenced(target, segment: str) -> bool:
    listed = target.collect("ListSegments", pb.ListSegmentsRequest())
    return {row.digest.hex(): row.referenced for row in listed}[segment]


def refuses_removal(target, segment: str) -> None:
    """What the daemon does first to remove a segment does not succeed."""
    dirfd = os.open(target.view, os.O_RDONLY)
    try:
        with pytest.raises(errors.ConflictError), shm.claimed(dirfd, segment):
            pass
    finally:
        os.close(dirfd)


def removal_is_free(target, segment: str) -> None:
    def free() -> bool:
        dirfd = os.open(target.view, os.O_RDONLY)
        try:
            with shm.claimed(dirfd, segment):
                return True
        except errors.ConflictError:
            return False
        finally:
            os.close(dirfd)

    wait_until(free, what="the end of the locks")


@pytest.mark.parametrize("attack", [attacks.hold_a_read_lease, attacks.hold_a_write_lease])
@pytest.mark.parametrize("place", ["nobody"], indirect=True)
def test_another_user_takes_no_file_lease(target, place, attack):
    """It needs the file's owner, or CAP_LEASE: so does root of a container if tetrisd has a user
    of its own."""
    with target.unharmed(), target.hostile.holds(place, attack, target.segments[1]) as held:
        assert held == "EACCES"


@pytest.mark.parametrize("place", ["container", "careless"], indirect=True)
def test_a_file_lease_does_not_stall_a_removal(target, place):
    """The kernel would keep a remover waiting for 45 s; ours is refused while that lasts."""
    segment = target.segments[1]
    inode = (target.view / segment).stat().st_ino
    with target.hostile.holds(place, attacks.hold_a_read_lease, segment) as held:
        assert held[0] == "done"
        refuses_removal(target, segment)
        assert leases_on(inode), "answered before the kernel broke the lease"
    removal_is_free(target, segment)


@pytest.mark.parametrize("place", ["container", "careless"], indirect=True)
def test_a_file_lease_on_a_lease_does_not_stall_its_release(target, place, pending):
    """It counts as held, and the daemon's answer does not wait for it."""
    inode = (target.view / pending).stat().st_ino
    with target.hostile.holds(place, attacks.hold_a_read_lease, pending) as held:
        assert held[0] == "done"
        lease = pending.removesuffix(".lease")
        assert not target.call("Release", pb.ReleaseRequest(lease=lease)).removed
        target.works_for_others()
        assert leases_on(inode), "answered before the kernel broke the lease"
    assert target.call("Release", pb.ReleaseRequest(lease=lease)).removed


@pytest.mark.parametrize("place", ["container", "careless"], indirect=True)
def test_a_file_lease_that_keeps_readers_out_hides_nothing_from_the_daemon(target, place):
    """A segment that somebody has so is in use, and all lists answer."""
    segment = target.segments[1]
    inode = (target.view / segment).stat().st_ino
    with target.hostile.holds(place, attacks.hold_a_write_lease, segment) as held:
        assert held[0] == "done"
        assert referenced(target, segment)
        target.call("GetStats", pb.GetStatsRequest())
        refuses_removal(target, segment)
        assert leases_on(inode), "answered before the kernel broke the lease"
    removal_is_free(target, segment)


@pytest.mark.parametrize("place", ["container", "careless"], indirect=True)
def test_a_file_lease_on_a_lease_hides_nothing_from_the_daemon(target, place, pending):
    """It is held; the lists do not fail for everybody because of it."""
    with target.hostile.holds(place, attacks.hold_a_write_lease, pending) as held:
        assert held[0] == "done"
        leases = target.collect("ListLeases", pb.ListLeasesRequest())
        assert pending.removesuffix(".lease") in {lease.id for lease in leases}
