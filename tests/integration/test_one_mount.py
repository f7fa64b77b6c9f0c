"""A view and its socket come in one mount: a container needs no other, and no variable."""

from __future__ import annotations

import os
import socket
import stat

import pytest

import tetris
from support.daemon import Daemon, wait_until
from support.models import random_model
from tetris import errors
from tetris.rpc import AdminRpc, Rpc
from tetris.v1 import admin_pb2 as admin
from tetris.v1 import tetris_pb2 as pb


@pytest.fixture
def model(daemon, tmp_path):
    return random_model(tmp_path / "models" / "m")


@pytest.fixture
def mounted(daemon, tmp_path):
    """The view under another path, as a container has it; what the daemon reports leads nowhere."""
    elsewhere = tmp_path / "mounted"
    elsewhere.symlink_to(daemon.root / "tenants" / "default")
    return elsewhere / "tetrisd.sock"


def test_the_socket_in_the_view_brings_the_segments_with_it(daemon, model, mounted):
    with tetris.attach(model, socket=mounted) as found:
        assert found._attachment.view == mounted.parent
        assert found["t0"].shape == (16384,)


def test_its_own_path_is_as_good(daemon, model):
    with tetris.attach(model, socket=daemon.socket) as found:
        assert found._attachment.view == daemon.root / "tenants" / "default"


def test_both_sockets_have_the_mode_that_is_the_authority(memory, tmp_path):
    with Daemon(tmp_path, "--socket-mode=600", root=memory / "root") as daemon:
        for path in (daemon.socket, daemon.root / "tenants/default/tetrisd.sock"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_socket_in_its_own_view_is_the_only_one(memory, tmp_path):
    root = memory / "root"
    own = root / "tenants/blue/tetrisd.sock"
    config = f'[tenants.blue]\nsocket = "{own}"\n'
    with Daemon(tmp_path, root=root, config=config) as daemon:
        assert Rpc(own).call("GetStats", pb.GetStatsRequest()).models == 0
        assert daemon.process.poll() is None


def test_a_root_with_a_longer_path_than_a_socket_may_have_has_it_too(memory, tmp_path):
    root = memory / ("r" * 100) / "root"
    root.parent.mkdir()
    with Daemon(tmp_path, root=root):
        short = tmp_path / "short"
        short.symlink_to(root / "tenants/default")
        assert Rpc(short / "tetrisd.sock").call("GetStats", pb.GetStatsRequest()).models == 0


def test_a_stop_removes_it_and_a_crash_does_not_matter(daemon, model):
    inside = daemon.root / "tenants/default/tetrisd.sock"
    daemon.kill()
    assert inside.exists()
    daemon.start()
    tetris.attach(model, socket=inside).release()
    daemon.stop()
    assert not inside.exists()


def test_what_docker_puts_in_its_place_while_it_is_away_does_not_matter(daemon, model):
    """Told to mount the socket alone, which is not there, it makes a directory of that name."""
    inside = daemon.root / "tenants/default/tetrisd.sock"
    daemon.stop()
    inside.mkdir()
    daemon.start()
    tetris.attach(model, socket=inside).release()


def test_verification_takes_it_for_ours(daemon):
    rpc = AdminRpc(daemon.admin_socket)
    found = rpc.collect("Verify", admin.VerifyRequest(), lambda m: list(m.findings))
    assert not any(found)


def test_what_a_crash_left_of_it_keeps_no_abandoned_tenant(memory, tmp_path):
    root = memory / "root"
    names = ("blue", "red")
    tables = [f'[tenants.{n}]\nsocket = "{tmp_path / n / "tetrisd.sock"}"\n' for n in names]
    first = Daemon(tmp_path / "d", root=root, config="".join(tables)).start()
    first.kill()
    assert (root / "tenants/red/tetrisd.sock").exists()
    with Daemon(tmp_path / "d", root=root, config=tables[0]):
        wait_until(lambda: os.listdir(root / "tenants") == ["blue"], what="the first look")


def test_a_directory_in_the_place_of_the_socket_is_one_sentence(tmp_path):
    """Docker makes one where the source of a mount is missing."""
    (tmp_path / "tetrisd.sock").mkdir()
    with pytest.raises(errors.UnavailableError, match=r"is no socket: start tetrisd, or .* mount"):
        Rpc(tmp_path / "tetrisd.sock").call("GetStats", pb.GetStatsRequest())


def test_a_socket_that_nobody_answers_on_is_said_to_be_mounted_only_where_it_is(tmp_path):
    path = tmp_path / "tetrisd.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
    with pytest.raises(errors.UnavailableError) as caught:
        Rpc(path).call("GetStats", pb.GetStatsRequest())
    assert "mounted" not in str(caught.value)
