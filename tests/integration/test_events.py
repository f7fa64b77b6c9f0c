"""What happens is told as it happens: to a tenant its own, to an administrator all."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from contextlib import ExitStack

import grpc
import pytest

import tetris
from support.daemon import PYTHON, Daemon, wait_until
from support.models import data_file, random_model
from support.watching import watching
from tetris.client import Client
from tetris.errors import CorruptDataError, NoSpaceError, NotFoundError
from tetris.rpc import AdminRpc, Rpc
from tetris.v1 import admin_pb2
from tetris.v1 import tetris_pb2 as pb
from tetris.v1.tetris_pb2_grpc import TetrisStub

Kind = pb.Event

DIES = """
import os, signal, sys, tetris
model = tetris.attach(sys.argv[1], socket=sys.argv[2])
print(model["t0"].nbytes, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def sockets(tmp_path):
    return {name: tmp_path / name / "tetrisd.sock" for name in ("red", "blue")}


@pytest.fixture
def daemon(memory, tmp_path, sockets):
    config = 'scrub_rate = "1GiB"\nscrub_every = "2s"\n' + "\n".join(
        f'[tenants.{name}]\nsocket = "{socket}"\nquota = "1MiB"\nmax_leases = 2'
        for name, socket in sockets.items()
    )
    with Daemon(tmp_path, root=memory / "root", config=config) as running:
        yield running


def do_everything(daemon, socket, directory):
    """One thing of every kind that a daemon decides, for tenant red."""
    path = random_model(directory / "m-of-red", tensors=2)
    model = tetris.attach(path, socket=socket)
    fingerprint = model.manifest.fingerprint
    subprocess.run([*PYTHON, "-c", DIES, path, socket], stdout=subprocess.DEVNULL, timeout=60)
    other = tetris.attach(path, socket=socket)
    with pytest.raises(NoSpaceError):
        tetris.attach(path, socket=socket)
    other.release()
    with pytest.raises(NoSpaceError):
        tetris.publish(random_model(directory / "too-large", kib=1024), socket=socket)
    Client(socket).tell_of_fallback("/srv/m-of-red", CorruptDataError("it is"))
    of_red = admin_pb2.ModelRequest(tenant="red", model="m-of-red")
    daemon.admin("Pin", of_red)
    daemon.admin("Unpin", of_red)
    daemon.admin("SetQuota", admin_pb2.SetQuotaRequest(tenant="red", bytes=2 << 20))
    daemon.admin("Reload", admin_pb2.ReloadRequest())
    model.release()
    daemon.admin("Evict", of_red)
    damaged = tetris.publish(random_model(directory / "damaged-of-red"), socket=socket)
    file = daemon.root / "objects/_shared" / damaged.tensors[0].segment
    file.chmod(0o644)
    file.write_bytes(b"?" * damaged.tensors[0].nbytes)
    AdminRpc(daemon.admin_socket).collect("Verify", admin_pb2.VerifyRequest(), str)
    daemon.admin("CollectGarbage", admin_pb2.CollectGarbageRequest())
    return fingerprint


def test_everything_is_told_to_an_administrator_and_its_own_to_a_tenant(daemon, sockets, tmp_path):
    admin = AdminRpc(daemon.admin_socket)
    with (
        watching(admin, "WatchHost") as host,
        watching(Rpc(sockets["red"])) as red,
        watching(Rpc(sockets["blue"])) as blue,
    ):
        fingerprint = do_everything(daemon, sockets["red"], tmp_path)
        host.wait_for(Kind.SCRUB_ENDED)
        tetris.publish(random_model(tmp_path / "of-blue"), socket=sockets["blue"])
        blue.wait_for(Kind.MODEL_PUBLISHED)
        daemon.stop()
        wait_until(lambda: host.code and red.code and blue.code, what="the end of the streams")
    assert {host.code, red.code, blue.code} == {grpc.StatusCode.OK}
    never = {Kind.KIND_UNSPECIFIED, Kind.EVENTS_LOST, Kind.DAEMON_READY}
    assert set(host.kinds()) == set(Kind.Kind.values()) - never
    assert {event.tenant for event in host.seen} == {"red", "blue", ""}
    assert {event.tenant for event in red.seen} == {"red"}
    of_host = {
        Kind.DAEMON_STOPPING,
        Kind.SETTINGS_RELOADED,
        Kind.GARBAGE_COLLECTED,
        Kind.SCRUB_ENDED,
    }
    assert set(red.kinds()) == set(host.kinds()) - of_host
    assert blue.kinds() == [Kind.MODEL_PUBLISHED]
    told = b"".join(event.SerializeToString() for event in blue.seen)
    assert b"red" not in told
    assert fingerprint not in told


def test_a_lease_that_ends_says_how(daemon, sockets, tmp_path):
    path = random_model(tmp_path / "m")
    with watching(Rpc(sockets["red"])) as red:
        tetris.attach(path, socket=sockets["red"]).release()
        released = red.wait_for(Kind.LEASE_ENDED)
        subprocess.run([*PYTHON, "-c", DIES, path, sockets["red"]], capture_output=True, timeout=60)
        died = red.wait_for(Kind.LEASE_ENDED, 2)
    assert (released.reason, died.reason) == ("released", "its holder died")
    assert released.model == died.model == "m"
    assert released.pid == os.getpid() != died.pid
    assert released.nbytes == 3 * 65536


def test_a_change_of_a_model_says_what_it_is(daemon, sockets, tmp_path):
    tetris.publish(random_model(tmp_path / "m"), socket=sockets["red"])
    of_red = admin_pb2.ModelRequest(tenant="red", model="m")
    keep = admin_pb2.SetKeepAliveRequest(tenant="red", model="m", seconds=90)
    with watching(Rpc(sockets["red"])) as red:
        daemon.admin("Pin", of_red)
        daemon.admin("Unpin", of_red)
        daemon.admin("SetKeepAlive", keep)
        keep.ClearField("seconds")
        daemon.admin("SetKeepAlive", keep)
        red.wait_for(Kind.MODEL_CHANGED, 4)
    said = [event.reason for event in red.seen]
    assert said == ["pinned", "unpinned", "keep-alive 90 s", "the daemon's keep-alive"]


def test_a_refusal_says_its_kind_and_its_sentence(daemon, sockets, tmp_path):
    path = random_model(tmp_path / "m")
    body = bytearray(data_file(path).read_bytes())
    body[-1] ^= 1
    data_file(path).write_bytes(body)
    with watching(Rpc(sockets["red"])) as red:
        with pytest.raises(CorruptDataError):
            tetris.publish(path, socket=sockets["red"])
        refused = red.wait_for(Kind.PUBLISH_REFUSED)
        with pytest.raises(NotFoundError):
            Client(sockets["red"]).attach(bytes(32))
        assert red.wait_for(Kind.ATTACH_REFUSED).error == "not_found"
    assert refused.error == "corrupt_data"
    assert "CRC32C" in refused.reason


def test_a_publisher_that_goes_away_has_abandoned_it(daemon, sockets, tmp_path):
    request = pb.PublishRequest(
        header=pb.PublishHeader(
            fingerprint=bytes(32),
            name="half",
            tensors=[pb.TensorClaim(name="a", dtype="uint8", shape=[9], nbytes=9)],
        )
    )
    with watching(Rpc(sockets["red"])) as red, Rpc(sockets["red"]).stub() as stub:
        waits = threading.Event()

        def messages():
            yield request
            waits.wait(30)

        call = stub.Publish.future(messages())
        rpc = Rpc(sockets["red"])
        wait_until(
            lambda: rpc.collect("ListPublishes", pb.ListPublishesRequest(), str), what="the publish"
        )
        call.cancel()
        assert red.wait_for(Kind.PUBLISH_REFUSED).error == "abandoned"
        waits.set()


def test_no_more_than_sixteen_watch_and_one_that_goes_makes_room(daemon, sockets):
    """Each holds a thread of the server; whoever cancels or dies gives it back."""

    def sixteen(stack):
        return [stack.enter_context(watching(Rpc(sockets["red"]))) for _ in range(16)]

    for _ in range(3):
        with ExitStack() as stack:
            wait_until(lambda: watchable(sockets["red"]), what="room for a watcher")
            sixteen(stack)
            with own_channel(sockets["red"]) as channel:
                call = TetrisStub(channel).Watch(pb.WatchRequest())
                with pytest.raises(grpc.RpcError) as refused:
                    next(iter(call))
            assert refused.value.code() == grpc.StatusCode.ABORTED
            assert refused.value.details() == "16 watch already: end one of them"
            assert watchable(sockets["blue"])


def own_channel(socket):
    """A connection of its own: gRPC shares one among channels, and it takes four calls.

    Its window does not grow: what is not read stays with the sender after 64 KiB.
    """
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.http2.bdp_probe", 0)]
    return grpc.insecure_channel(f"unix:{socket}", options)


def watchable(socket):
    """Whether one more may watch."""
    with own_channel(socket) as channel:
        call = TetrisStub(channel).Watch(pb.WatchRequest())
        call.initial_metadata()
        done = not call.is_active()
        call.cancel()
        return not done


def test_one_that_is_killed_makes_room(daemon, sockets):
    code = (
        "import sys, grpc, time\n"
        "from tetris.v1.tetris_pb2_grpc import TetrisStub\n"
        "from tetris.v1.tetris_pb2 import WatchRequest\n"
        "channel = grpc.insecure_channel('unix:' + sys.argv[1])\n"
        "calls = [TetrisStub(channel).Watch(WatchRequest()) for _ in range(4)]\n"
        "[c.initial_metadata() for c in calls]\n"
        "print('watching', flush=True)\n"
        "time.sleep(60)\n"
    )
    children = [
        subprocess.Popen([*PYTHON, "-c", code, sockets["red"]], stdout=subprocess.PIPE)
        for _ in range(4)
    ]
    for child in children:
        assert child.stdout.readline() == b"watching\n"
    assert not watchable(sockets["red"])
    for child in children:
        child.send_signal(signal.SIGKILL)
        child.wait(30)
        child.stdout.close()
    wait_until(lambda: watchable(sockets["red"]), what="room for a watcher")


def test_one_that_takes_nothing_is_cut_off_and_holds_up_nobody(daemon, sockets):
    """What it has not taken waits for it, up to a number; its thread does not."""
    rpc = Rpc(sockets["red"])
    report = pb.ReportFallbackRequest(reason=pb.ReportFallbackRequest.FAILED, model="m" * 200)
    with rpc.stub() as stub, ExitStack() as stack:
        for _ in range(16):
            channel = stack.enter_context(own_channel(sockets["red"]))
            call = TetrisStub(channel).Watch(pb.WatchRequest())
            call.initial_metadata()
            stack.callback(call.cancel)
        assert not watchable(sockets["red"])
        for _ in range(2000):
            stub.ReportFallback(report, timeout=20)
        wait_until(lambda: watchable(sockets["red"]), 60, what="the end of one that stands still")


def test_one_that_pings_and_hears_nothing_stays(daemon, sockets):
    """As does any call that the daemon is long about: gRPC takes pings for an attack by default."""
    pings = [("grpc.keepalive_time_ms", 6_000), ("grpc.http2.max_pings_without_data", 0)]
    with grpc.insecure_channel(f"unix:{sockets['blue']}", pings) as channel:
        call = TetrisStub(channel).Watch(pb.WatchRequest())
        ended = threading.Event()
        call.add_done_callback(lambda _: ended.set())
        assert not ended.wait(30), call.details()
        call.cancel()


def test_a_stop_ends_every_watcher(daemon, sockets):
    with watching(Rpc(sockets["red"])) as red, watching(Rpc(sockets["blue"])) as blue:
        assert daemon.stop() == 0
        wait_until(lambda: red.code and blue.code, what="the end of the streams")
        assert red.code == blue.code == grpc.StatusCode.OK
