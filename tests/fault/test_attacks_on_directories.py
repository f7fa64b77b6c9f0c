"""What a hostile client may try on the view, the socket and the root: it plants, removes and
replaces nothing, and sees its own tenant's segments alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.daemon import Daemon
from support.hostile import PLACES
from support.hostile import on_directories as attacks
from support.models import let_through, random_model
from tetris import errors
from tetris.client import Client
from tetris.formats import locate
from tetris.rpc import Rpc
from tetris.v1 import tetris_pb2 as pb

MODE_OR_MOUNT = ("EACCES", "EROFS", "EROFS")
OWNER_OR_MOUNT = ("EPERM", "EROFS", "EROFS")
OWNER_OR_OTHER_MOUNT = ("EPERM", "EXDEV", "EXDEV")

REFUSED = {
    attacks.create: MODE_OR_MOUNT,
    attacks.create_a_hidden_draft: MODE_OR_MOUNT,
    attacks.create_a_lease: MODE_OR_MOUNT,
    attacks.create_without_a_name: MODE_OR_MOUNT,
    attacks.mkdir: MODE_OR_MOUNT,
    attacks.mkfifo: MODE_OR_MOUNT,
    attacks.mknod: MODE_OR_MOUNT,
    attacks.symlink: MODE_OR_MOUNT,
    attacks.link_inside: ("EACCES EPERM", "EROFS", "EROFS"),
    attacks.unlink: MODE_OR_MOUNT,
    attacks.rename_inside: MODE_OR_MOUNT,
    attacks.chmod_the_view: OWNER_OR_MOUNT,
    attacks.write_to_a_lease: MODE_OR_MOUNT,
    attacks.unlink_a_lease: MODE_OR_MOUNT,
    attacks.chmod_a_lease: OWNER_OR_MOUNT,
    attacks.set_times_of_a_lease: OWNER_OR_MOUNT,
    attacks.unlink_the_socket: MODE_OR_MOUNT,
    attacks.replace_the_socket: MODE_OR_MOUNT,
    attacks.chmod_the_socket: OWNER_OR_MOUNT,
}
ON_TWO = {attacks.rename_over: MODE_OR_MOUNT, attacks.exchange: MODE_OR_MOUNT}


def name_of(attack):
    return attack.__name__


@pytest.mark.parametrize("attack", REFUSED, ids=name_of)
def test_nothing_is_planted_removed_or_replaced(target, place, attack):
    """View and socket directory are the daemon's to write, and read-only in a container."""
    with target.unharmed():
        outcome = target.hostile.tries(place, attack, target.segments[0])
        assert outcome in REFUSED[attack][PLACES.index(place)].split()


@pytest.mark.parametrize("attack", ON_TWO, ids=name_of)
def test_no_segment_takes_the_place_of_another(target, place, attack):
    with target.unharmed():
        outcome = target.hostile.tries(place, attack, *target.segments)
        assert outcome == ON_TWO[attack][PLACES.index(place)]


@pytest.mark.parametrize(
    "attack", [attacks.link_outside, attacks.link_outside_by_descriptor], ids=name_of
)
def test_no_link_keeps_a_segment_alive(target, place, attack):
    """Another user's is refused by fs.protected_hardlinks, one across mounts always."""
    if place == "nobody" and Path("/proc/sys/fs/protected_hardlinks").read_text() != "1\n":
        pytest.skip("this host lets anybody link anything")
    mine = str(target.outside) if place == "nobody" else "/"
    with target.unharmed():
        outcome = target.hostile.tries(place, attack, target.segments[0], mine)
        assert outcome == OWNER_OR_OTHER_MOUNT[PLACES.index(place)]


def closed_parts(root: Path, view: Path) -> list[Path]:
    """Directories of a root that are no part of the way to a view."""
    return [p for p in sorted(root.rglob("*")) if p.is_dir() and not view.is_relative_to(p)]


@pytest.mark.parametrize("place", ["nobody"], indirect=True)
def test_another_user_lists_nothing_but_the_view(target, place):
    """Neither the root, nor its objects, manifests and leases, nor the list of tenants."""
    closed = [target.daemon.root, *closed_parts(target.daemon.root, target.view)]
    assert len(closed) >= 4
    with target.unharmed():
        for directory in [*closed, target.view.parent]:
            seen = target.hostile.tries(place, attacks.list_directory, str(directory))
            assert seen == "EACCES", directory


@pytest.mark.parametrize("place", ["nobody"], indirect=True)
def test_another_user_opens_no_file_but_those_of_the_view(target, place):
    """Not even one whose name it knows: a segment's in objects, a manifest's, a lease's."""
    below = closed_parts(target.daemon.root, target.view)
    files = [p for directory in below for p in directory.iterdir() if p.is_file()]
    files.append(target.daemon.root / "lock")
    assert {p.name for p in files} >= set(target.segments)
    with target.unharmed():
        for path in files:
            for attack in (attacks.open_path, attacks.open_as_path_only):
                allowed = attack is attacks.open_as_path_only and path.name == "lock"
                expected = ["done", None] if allowed else "EACCES"
                assert target.hostile.tries(place, attack, str(path)) == expected, path


@pytest.mark.parametrize("place", ["container", "careless"], indirect=True)
def test_a_container_sees_the_view_and_nothing_above(target, place):
    """What is above its mount does not exist in it."""
    with target.unharmed():
        up = target.hostile.tries(place, attacks.list_relative, "..")
        assert sorted(up[1]) == ["proc", "run", "view"]
        for names in (("..", "..", "objects"), ("..", "objects"), ("..", "..", "..", "models")):
            assert target.hostile.tries(place, attacks.list_relative, *names) == "ENOENT"
        path = str(target.daemon.root / "objects" / target.segments[0])
        assert target.hostile.tries(place, attacks.open_path, path) == "ENOENT"


def test_the_attackers_can_do_what_a_client_must(target, place):
    """They list and read the view and reach the daemon: what is refused is not for want of that."""
    with target.unharmed():
        _, names = target.hostile.tries(place, attacks.list_view)
        assert set(names) >= set(target.segments)
        _, head = target.hostile.tries(place, attacks.read_segment, target.segments[0])
        assert bytes.fromhex(head) == target.model["t0"].tobytes()[:16]
        greeted = target.hostile.tries(place, attacks.connect_to_the_tenant)
        assert greeted == ["done", "04"], "the daemon greets with a SETTINGS frame"


@pytest.fixture
def closed(memory, tmp_path):
    """A store whose socket its owner alone may open: another tenant's, to an attacker."""
    with Daemon(tmp_path / "closed", "--socket-mode=600", root=memory / "closed") as daemon:
        let_through(tmp_path, memory)
        path = random_model(tmp_path / "secret", tensors=1)
        manifest = Client(daemon.socket).publish(locate(str(path)))
        answer = Rpc(daemon.socket).call(
            "Attach", pb.AttachRequest(fingerprint=manifest.fingerprint)
        )
        yield daemon, Path(answer.view), manifest.tensors[0].segment


def test_a_socket_that_it_may_not_open_stays_shut(target, place, closed):
    """Its mode and its directory's keep another user out; in a container it does not exist."""
    daemon, _, _ = closed
    outcome = target.hostile.tries(place, attacks.connect, str(daemon.socket))
    assert outcome == ("EACCES" if place == "nobody" else "ENOENT")
    daemon.socket.parent.chmod(0o755)
    outcome = target.hostile.tries(place, attacks.connect, str(daemon.socket))
    assert outcome == ("EACCES" if place == "nobody" else "ENOENT")
    assert Rpc(daemon.socket).call("GetStats", pb.GetStatsRequest()).models == 1


def test_a_view_that_it_may_not_enter_is_not_guessed(target, place, closed):
    """Knowing the digest and the path of another tenant's segment opens nothing."""
    _, view, segment = closed
    refused = "EACCES" if place == "nobody" else "ENOENT"
    assert target.hostile.tries(place, attacks.list_directory, str(view)) == refused
    for attack in (attacks.open_path, attacks.open_as_path_only):
        assert target.hostile.tries(place, attack, str(view / segment)) == refused
    across = os.path.relpath(view, target.view)
    assert target.hostile.tries(place, attacks.open_relative, across, segment) == refused


def test_knowing_a_digest_gives_no_bytes_of_it(target, closed):
    """Nor does its fingerprint: each store answers for what was published there."""
    _, _, segment = closed
    for request in (
        ("Attach", pb.AttachRequest(fingerprint=bytes.fromhex(segment))),
        ("GetModel", pb.GetModelRequest(model=segment)),
    ):
        with pytest.raises(errors.NotFoundError):
            target.call(*request)
