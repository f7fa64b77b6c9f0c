"""What a hostile client may name: a name is a key, never a path, and a refusal is one sentence."""

from __future__ import annotations

import pytest

from tetris import errors
from tetris.v1 import tetris_pb2 as pb

LONG = 5_000
IDS = {
    "empty": "",
    "up": "../x",
    "up and down": "../leases/x",
    "absolute": "/etc/passwd",
    "dot": ".",
    "dots": "..",
    "hidden": ".x",
    "a NUL": "abc\0def",
    "a newline": "abc\ndef",
    "a digit of another alphabet": "²",
    "letters of another alphabet": "абвгабвгабвгабвг",
    "right to left": "\u202egnol",
    "a name with spaces": "ab cd",
    "upper case": "ABCDEF0123456789",
    "as long as no file name": "a" * 300,
    "a guess": "0123456789abcdef",
}
LONG_IDS = {
    "very long": "a" * LONG,
    "long and escaped": "\n" * LONG,
    "longer than a status may be": "a" * 100_000,
}


def refused_in_one_sentence(target, method: str, request: object) -> Exception:
    """The error; it says who failed, and does not repeat all that it was sent."""
    with target.unharmed(), pytest.raises(errors.TetrisError) as refused:
        target.call(method, request)
    said = str(refused.value)
    assert "\n" not in said
    assert "\0" not in said
    assert len(said) < 2_000
    return refused.value


@pytest.mark.parametrize("lease", IDS.values(), ids=IDS)
def test_a_release_of_no_lease_removes_nothing(target, lease):
    refused = refused_in_one_sentence(target, "Release", pb.ReleaseRequest(lease=lease))
    assert type(refused) is errors.NotFoundError


@pytest.mark.parametrize("lease", LONG_IDS.values(), ids=LONG_IDS)
def test_a_release_of_a_very_long_lease_is_refused_in_short(target, lease):
    refused = refused_in_one_sentence(target, "Release", pb.ReleaseRequest(lease=lease))
    assert type(refused) is errors.NotFoundError


def test_a_release_by_the_name_of_another_file_removes_nothing(target):
    """A segment, a manifest, the link to a lease, the lock of the root: none of them is a lease."""
    model = target.model.manifest
    names = (target.segments[0], model.fingerprint.hex(), "lock", "version", "default")
    for name in (*names, f"{target.model._attachment.lease}.lease"):
        refused = refused_in_one_sentence(target, "Release", pb.ReleaseRequest(lease=name))
        assert type(refused) is errors.NotFoundError


def test_a_release_of_somebody_elses_lease_keeps_it(target):
    """Its holder holds its lock: the daemon asks the kernel, and not who calls."""
    lease = target.model._attachment.lease
    with target.unharmed():
        answer = target.call("Release", pb.ReleaseRequest(lease=lease))
        assert not answer.removed
        listed = target.collect("ListLeases", pb.ListLeasesRequest())
        assert lease in {row.id for row in listed}


NAMES = {
    "up": "../../etc/passwd",
    "absolute": "/etc/passwd",
    "a NUL": "a\0b",
    "a newline": "a\nb",
    "an escape": "\x1b[2J",
    "very long": "x" * LONG,
    "long and escaped": "\u202e" * LONG,
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_model_of_an_impossible_name_is_not_found(target, name):
    refused = refused_in_one_sentence(target, "GetModel", pb.GetModelRequest(model=name))
    assert type(refused) is errors.NotFoundError


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_path_is_refused_in_one_sentence(target, name):
    """Bare, and below the directory that the daemon reads."""
    for path in (name, f"{target.models}/{name}", f"{target.models}/m/../{name}"):
        refused = refused_in_one_sentence(target, "PublishPath", pb.PublishPathRequest(path=path))
        assert type(refused) in (
            errors.NotFoundError,
            errors.NotAllowedError,
            errors.InvalidModelError,
        )


@pytest.mark.parametrize("name", [n for n in NAMES.values() if not n.isprintable() or len(n) > 99])
def test_a_model_cannot_be_published_under_a_name_that_nobody_can_print(target, name):
    """People read names in lists and logs."""
    header = pb.PublishHeader(fingerprint=b"n" * 32, name=name)
    with target.unharmed():
        with pytest.raises(errors.InvalidModelError, match="model name") as refused:
            target.publish([pb.PublishRequest(header=header)])
        assert len(str(refused.value)) < 2_000


@pytest.mark.parametrize("length", [0, 1, 31, 33, 64, LONG, 1 << 20])
def test_a_fingerprint_has_32_bytes(target, length):
    request = pb.AttachRequest(fingerprint=b"\xff" * length)
    refused = refused_in_one_sentence(target, "Attach", request)
    assert type(refused) is errors.InvalidModelError


def test_what_a_holder_says_of_itself_is_cut(target):
    """It is for people, and kept in memory that all pay for."""
    who = pb.Holder(pid=-1, command="c" * LONG, host="h" * LONG)
    request = pb.AttachRequest(fingerprint=target.model.manifest.fingerprint, holder=who)
    with target.unharmed():
        lease = target.call("Attach", request).lease
        found = {row.id: row for row in target.collect("ListLeases", pb.ListLeasesRequest())}
        assert len(found[lease].holder.command) == len(found[lease].holder.host) == 200
        target.call("Release", pb.ReleaseRequest(lease=lease))
