"""Two tenants and an administrator, each on a socket of their own, of one real daemon."""

from __future__ import annotations

import json
import os
import stat

import grpc
import pytest

import tetris
from support.daemon import Daemon, files_under, wait_until
from support.models import random_model
from tetris.cli.main import main
from tetris.client import Client
from tetris.errors import NoSpaceError, NotAllowedError, NotFoundError, UnavailableError
from tetris.rpc import AdminRpc, Rpc
from tetris.v1 import admin_pb2 as pb
from tetris.v1 import tetris_pb2
from tetris.v1.admin_pb2_grpc import AdminStub


@pytest.fixture
def sockets(tmp_path):
    return {name: tmp_path / name / "tetrisd.sock" for name in ("red", "blue")}


@pytest.fixture
def daemon(memory, tmp_path, sockets):
    config = "\n".join(
        f'[tenants.{name}]\nsocket = "{socket}"\nquota = "64MiB"'
        for name, socket in sockets.items()
    )
    with Daemon(tmp_path, root=memory / "root", config=config) as running:
        yield running


@pytest.fixture
def ctl(daemon, capsys):
    def run(*words):
        status = main(["--json", "--admin-socket", str(daemon.admin_socket), *words])
        out = capsys.readouterr()
        return status, json.loads(out.out) if out.out else out.err

    return run


def test_each_tenant_sees_its_own(daemon, sockets, tmp_path):
    model = random_model(tmp_path / "m")
    with tetris.attach(model, socket=sockets["red"]):
        blue = Rpc(sockets["blue"])
        assert blue.collect("ListModels", tetris_pb2.ListModelsRequest(), str) == []
        assert blue.collect("ListSegments", tetris_pb2.ListSegmentsRequest(), str) == []
        assert blue.collect("ListLeases", tetris_pb2.ListLeasesRequest(), str) == []
        with pytest.raises(NotFoundError):
            blue.call("GetModel", tetris_pb2.GetModelRequest(model="m"))
        stats = blue.call("GetStats", tetris_pb2.GetStatsRequest())
        assert (stats.bytes_resident, stats.bytes_charged, stats.references) == (0, 0, 0)


def test_a_tenants_socket_knows_no_administrative_call(daemon, sockets):
    with grpc.insecure_channel(f"unix:{sockets['red']}") as channel:
        for method in ("Pin", "Evict", "CollectGarbage", "SetQuota"):
            request = getattr(
                pb,
                {"CollectGarbage": "CollectGarbageRequest", "SetQuota": "SetQuotaRequest"}.get(
                    method, "ModelRequest"
                ),
            )()
            with pytest.raises(grpc.RpcError) as refused:
                getattr(AdminStub(channel), method)(request, timeout=10)
            assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_the_admin_socket_is_for_the_daemons_user_alone(daemon):
    assert stat.S_IMODE(daemon.admin_socket.stat().st_mode) == 0o600
    assert stat.S_IMODE(daemon.admin_socket.parent.stat().st_mode) == 0o700


def test_an_administrator_sees_and_decides(daemon, sockets, tmp_path, ctl):
    model = random_model(tmp_path / "m", tensors=2, kib=8)
    for socket in sockets.values():
        tetris.publish(model, socket=socket)
    status, tenants = ctl("tenants")
    assert status == 0
    assert [(t["name"], t["models"], t["bytes_charged"]) for t in tenants] == [
        ("red", 1, 16384),
        ("blue", 1, 16384),
    ]
    assert ctl("stat", "-A")[1]["bytes_resident"] == 16384
    assert {m["tenant"] for m in ctl("models", "-A")[1]} == {"red", "blue"}
    assert ctl("pin", "m", "--tenant", "red")[1]["pinned"]
    assert ctl("evict", "m", "--tenant", "red") == (
        1,
        "tetrisctl: model m is pinned: unpin it first\n",
    )
    assert ctl("gc")[1] == {"models": 1, "segments": 0, "bytes_freed": 0}
    daemon.kill()
    daemon.start()
    assert ctl("models", "-A")[1][0]["pinned"]
    assert not ctl("unpin", "m", "--tenant", "red")[1]["pinned"]
    assert ctl("keep", "m", "1h", "--tenant", "red")[1]["keep_alive_seconds"] == 3600
    assert ctl("keep", "m", "--tenant", "red")[1]["keep_alive_seconds"] == 600
    with tetris.attach(model, socket=sockets["red"]):
        assert ctl("leases", "-A")[1][0]["pid"] == os.getpid()
        assert ctl("evict", "m", "--tenant", "red")[1] == {
            "removed": False,
            "leases": 1,
            "bytes_freed": 0,
        }
    wait_until(lambda: files_under(daemon.root) == set(), what="the eviction")


def test_a_quota_holds_from_now_on(daemon, sockets, tmp_path, ctl):
    assert ctl("quota", "red", "64KiB") == (0, {"bytes_charged": 0, "bytes_quota": 65536})
    with pytest.raises(NoSpaceError, match="the quota of red leaves 65536"):
        tetris.publish(random_model(tmp_path / "m", tensors=2), socket=sockets["red"])
    tetris.publish(random_model(tmp_path / "n", tensors=2), socket=sockets["blue"])


def test_damage_has_an_exit_status_of_its_own(daemon, sockets, tmp_path, ctl):
    manifest = tetris.publish(random_model(tmp_path / "m"), socket=sockets["red"])
    assert ctl("verify")[0] == 0
    assert ctl("verify", "m", "--tenant", "red")[1]["bytes_checked"] == manifest.nbytes
    file = daemon.root / "objects/_shared" / manifest.tensors[0].segment
    file.chmod(0o644)
    with file.open("r+b") as out:
        out.write(b"?")
    file.chmod(0o444)
    status, found = ctl("verify")
    assert status == 6
    assert [f["subject"] for f in found["findings"]] == [f"objects/_shared/{file.name}"]
    assert ctl("stat", "-A")[1]["segments_quarantined"] == 1
    with tetris.attach(tmp_path / "m", socket=sockets["red"]) as model:
        assert len(model) == 3  # published anew
    assert ctl("verify")[0] == 0


def test_what_is_not_there_is_one_sentence(daemon, ctl, tmp_path):
    assert ctl("pin", "m", "--tenant", "green") == (
        4,
        "tetrisctl: no tenant 'green': `tetrisctl tenants` lists them\n",
    )
    assert ctl("evict", "m", "--tenant", "red")[0] == 4
    with pytest.raises(UnavailableError, match="--admin-socket"):
        AdminRpc(tmp_path / "nobody.sock").call("CollectGarbage", pb.CollectGarbageRequest())


def test_a_group_that_is_not_there_is_refused_at_the_start(memory, tmp_path):
    refused = Daemon(tmp_path / "d", "--group=no-such-group", root=memory / "root")
    refused.start(wait=False)
    assert refused.process.wait(30) == 1
    assert "group 'no-such-group' does not exist" in refused.log


def test_a_group_gets_socket_and_view(memory, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs leave to change groups")
    with Daemon(tmp_path / "d", "--group=12345", root=memory / "root") as daemon:
        for file in (daemon.socket, daemon.socket.parent, daemon.root / "tenants/default"):
            assert file.stat().st_gid == 12345
        assert stat.S_IMODE((daemon.root / "tenants/default").stat().st_mode) == 0o750


def test_the_scrub_finds_damage_by_itself(memory, tmp_path):
    flags = ["--scrub-every=1", "--scrub-rate=1GiB"]
    with Daemon(tmp_path / "d", *flags, root=memory / "root") as daemon:
        manifest = tetris.publish(random_model(tmp_path / "m"), socket=daemon.socket)
        file = daemon.root / "objects/_shared" / manifest.tensors[0].segment
        file.chmod(0o644)
        with file.open("r+b") as out:
            out.write(b"?")
        file.chmod(0o444)
        wait_until(lambda: "has other bytes than its name says" in daemon.log, what="the finding")
        with pytest.raises((NotFoundError, NotAllowedError)):
            Client(daemon.socket).attach(manifest.fingerprint)
