"""What a hostile client may try on the segments that it sees: it changes nothing that others read.

Every attack is a function in :mod:`support.hostile`; the tables say what refuses it for another
user (``nobody``), for root in a container, and for root in a careless one.
"""

from __future__ import annotations

import pytest

from support.hostile import PLACES
from support.hostile import on_segments as attacks

NO_MODE, READ_ONLY = "EACCES", "EROFS"
MODE_OR_MOUNT = (NO_MODE, READ_ONLY, READ_ONLY)

REFUSED = {
    attacks.open_for_writing: MODE_OR_MOUNT,
    attacks.open_for_both: MODE_OR_MOUNT,
    attacks.open_and_truncate: MODE_OR_MOUNT,
    attacks.reopen_through_proc: MODE_OR_MOUNT,
    attacks.reopen_through_map_files: ("EPERM", "EPERM", READ_ONLY),
    attacks.open_in_a_user_namespace: MODE_OR_MOUNT,
    attacks.remount_in_a_user_namespace: ("EINVAL", "EPERM", "EPERM"),
    attacks.remount: ("EPERM",) * 3,
    attacks.write: ("EBADF",) * 3,
    attacks.truncate: MODE_OR_MOUNT,
    attacks.ftruncate: ("EINVAL",) * 3,
    attacks.grow: ("EBADF",) * 3,
    attacks.punch_a_hole: ("EBADF",) * 3,
    attacks.zero_a_range: ("EBADF",) * 3,
    attacks.copy_file_range: ("EBADF",) * 3,
    attacks.sendfile: ("EBADF",) * 3,
    attacks.splice: ("EBADF",) * 3,
    attacks.clone_a_file_onto_it: ("EBADF",) * 3,
    attacks.seal: ("EPERM",) * 3,
    attacks.map_writable: ("EACCES",) * 3,
    attacks.make_a_mapping_writable: ("EACCES",) * 3,
    attacks.write_through_a_mapping: ("SIGSEGV",) * 3,
    attacks.write_through_proc_mem: ("EIO",) * 3,
    attacks.remove_pages: ("EACCES",) * 3,
    attacks.free_pages: ("EINVAL",) * 3,
    attacks.populate_for_writing: ("EINVAL",) * 3,
    attacks.poison_pages: ("EPERM EINVAL",) * 3,  # EINVAL: a kernel that has no such thing
    attacks.fill_by_userfaultfd: ("EPERM ENOSYS",) * 3,
    attacks.chmod: ("EPERM", READ_ONLY, READ_ONLY),
    attacks.fchmod: ("EPERM", READ_ONLY, READ_ONLY),
    attacks.chown: ("EPERM", READ_ONLY, READ_ONLY),
    attacks.set_times: ("EPERM", READ_ONLY, READ_ONLY),
    attacks.set_attribute: ("EACCES", READ_ONLY, READ_ONLY),
    attacks.make_immutable: ("EPERM", READ_ONLY, READ_ONLY),
    attacks.open_by_handle_for_writing: ("EPERM", "EPERM", READ_ONLY),
}


HARMLESS = (
    attacks.forget_pages,
    attacks.lock_pages,
    attacks.write_to_a_private_mapping_through_proc_mem,
    attacks.write_into_its_page_in_a_pipe,
    attacks.give_away_its_pages,
)


def name_of(attack):
    return attack.__name__


@pytest.mark.parametrize("attack", REFUSED, ids=name_of)
def test_a_segment_cannot_be_changed(target, place, attack):
    """No call on it, its descriptor or its mapping changes its bytes or attributes."""
    with target.unharmed():
        outcome = target.hostile.tries(place, attack, target.segments[0])
        assert outcome in REFUSED[attack][PLACES.index(place)].split()


@pytest.mark.parametrize("attack", HARMLESS, ids=name_of)
def test_what_the_kernel_allows_stays_with_who_does_it(target, place, attack):
    """It concerns the attacker's own page tables, pipes and private copies."""
    with target.unharmed():
        outcome, result = target.hostile.tries(place, attack, target.segments[0])
        assert outcome == "done"
        assert result in (None, True)


def test_no_handle_leads_to_what_has_no_path(target, place):
    """Opening by handle needs a capability, and the handle of a segment cannot be guessed."""
    with target.unharmed():
        outcome = target.hostile.tries(place, attacks.open_by_a_guessed_handle, target.segments[0])
        assert outcome == (["done", 0] if place == "careless" else "EPERM")
