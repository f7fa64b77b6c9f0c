"""What the environment can refuse the daemon: it says so in a sentence, loses nothing, goes on."""

from __future__ import annotations

import array
import ctypes
import fcntl
import os
import resource
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc
import pytest

from support.daemon import Daemon, files_under, wait_until
from support.host import MODULES, Host
from support.models import data_file, random_model
from support.tmpfs import can_mount, tmpfs
from support.zygote import Child, Zygote
from tetris import errors
from tetris.client import Client
from tetris.formats.model import locate
from tetris.rpc import AdminRpc, Rpc
from tetris.v1 import admin_pb2
from tetris.v1 import tetris_pb2 as pb

MIB = 1 << 20
HERE = Path(__file__).parent

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def zygote():
    with Zygote(*MODULES) as made:
        yield made


@contextmanager
def host_on(zygote: Zygote, directory: Path, options: str, *flags: str) -> Iterator[Host]:
    """A host whose root is on a tmpfs with these options."""
    with tmpfs(options) as mount:
        if not can_mount():
            pytest.skip("needs leave to mount")
        host = Host(zygote, mount, directory, *flags)
        try:
            yield host
        finally:
            if host.daemon is not None:
                host.stop(signal.SIGKILL)


def publish(host: Host, path: Path, how: str) -> None:
    client = Client(host.socket)
    if how == "path":
        client.rpc.call("PublishPath", pb.PublishPathRequest(path=str(path)))
    else:
        client._send(locate(str(path)))


def assert_works(host: Host, path: Path) -> None:
    with host.attach(path) as model:
        found = b"".join(model[name].tobytes() for name in sorted(model))
        assert found == data_file(path).read_bytes()


def one_sentence(error: Exception) -> bool:
    return bool(str(error)) and len(str(error).splitlines()) == 1


# A full tmpfs: ENOSPC.


@pytest.mark.parametrize("how", ["path", "stream"])
@pytest.mark.parametrize("options", ["size=2m", "size=64m,nr_inodes=130"])
def test_a_store_that_is_full_refuses_and_serves_what_it_has(zygote, tmp_path, how, options):
    """Of bytes or of inodes: the publish fails whole, what was there can still be attached."""
    with host_on(zygote, tmp_path, options) as host:
        host.start()
        models = [random_model(host.models / f"m{i}", tensors=6, kib=32) for i in range(20)]
        done = []
        refused = None
        while refused is None:
            path = models[len(done)]
            try:
                publish(host, path, how)
                done.append(path)
                request = admin_pb2.ModelRequest(tenant="default", model=path.name)
                AdminRpc(host.admin_socket).call("Pin", request)  # else it would make room
            except errors.NoSpaceError as full:
                refused = full
        assert one_sentence(refused)
        assert done
        host.comes_clean()
        for path in done:
            assert_works(host, path)
        host.comes_clean()


# No descriptors: EMFILE.


def test_a_daemon_out_of_descriptors_serves_again_once_it_has_some(zygote, tmp_path):
    """Connections wait or are refused meanwhile; nothing that was published is lost."""
    with host_on(zygote, tmp_path, "size=64m") as host:
        host.start(limits={"RLIMIT_NOFILE": 64})
        kept = random_model(host.models / "kept")
        fresh = random_model(host.models / "fresh")
        publish(host, kept, "path")
        with ExitStack() as flood:
            for _ in range(100):
                connection = flood.enter_context(socket.socket(socket.AF_UNIX))
                connection.connect(str(host.socket))
            descriptors = Path(f"/proc/{host.daemon.pid}/fd")
            wait_until(lambda: len(list(descriptors.iterdir())) >= 63, what="the last descriptor")
            for method, request in [
                ("GetStats", pb.GetStatsRequest()),
                ("PublishPath", pb.PublishPathRequest(path=str(fresh))),
            ]:
                with pytest.raises(errors.UnavailableError) as refused:
                    Rpc(host.socket).call(method, request, timeout=2)
                assert one_sentence(refused.value)
            assert host.daemon.poll() is None
        assert_works(host, kept)
        assert_works(host, fresh)
        host.comes_clean()


def test_a_publish_that_can_open_no_file_fails_whole(zygote, tmp_path):
    """The sources and the segments need descriptors too."""
    with host_on(zygote, tmp_path, "size=64m") as host:
        host.start()
        kept, fresh = (random_model(host.models / name) for name in ("kept", "fresh"))
        publish(host, kept, "path")
        with Rpc(host.socket).stub() as stub:
            stub.GetStats(pb.GetStatsRequest())  # connected, while there are descriptors
            _, hard = resource.prlimit(host.daemon.pid, resource.RLIMIT_NOFILE)
            resource.prlimit(host.daemon.pid, resource.RLIMIT_NOFILE, (3, hard))
            with pytest.raises(grpc.RpcError, match="Too many open files"):
                stub.PublishPath(pb.PublishPathRequest(path=str(fresh)))
            resource.prlimit(host.daemon.pid, resource.RLIMIT_NOFILE, (hard, hard))
        host.comes_clean()
        assert_works(host, kept)
        assert_works(host, fresh)


# No address space: ENOMEM.


@pytest.mark.parametrize("how", ["path", "stream"])
def test_a_tensor_that_cannot_be_mapped_is_refused(zygote, tmp_path, how):
    """The daemon has no room for it in its address space; it has for smaller ones."""
    with host_on(zygote, tmp_path, "size=1g") as host:
        host.start()
        small = random_model(host.models / "small")
        large = random_model(host.models / "large", tensors=1, kib=256 * 1024)
        publish(host, small, "path")
        status = Path(f"/proc/{host.daemon.pid}/status").read_text()
        size = int(status.partition("VmSize:")[2].split()[0]) * 1024
        resource.prlimit(host.daemon.pid, resource.RLIMIT_AS, (size + 192 * MIB,) * 2)
        with pytest.raises(errors.NoSpaceError) as refused:
            publish(host, large, how)
        assert one_sentence(refused.value)
        host.comes_clean()
        assert_works(host, small)
        assert_works(host, random_model(host.models / "other"))


# A disk that fails: EIO.


@pytest.fixture
def shim(tmp_path) -> Path:
    library = tmp_path / "eio.so"
    command = ["cc", "-shared", "-fPIC", "-o", str(library), str(HERE / "eio.c"), "-ldl"]
    subprocess.run(command, check=True, timeout=60)
    return library


def test_a_source_that_cannot_be_read_is_one_failed_publish(tmp_path, memory, shim, monkeypatch):
    """EIO while reading a model: that publish fails and leaves nothing, others go on."""
    bad, good = (random_model(tmp_path / "models" / name) for name in ("eio", "good"))
    monkeypatch.setenv("LD_PRELOAD", str(shim))
    flag = f"--model-root={tmp_path / 'models'}"
    with Daemon(tmp_path, flag, root=memory / "root") as daemon:
        monkeypatch.delenv("LD_PRELOAD")
        rpc = Rpc(daemon.socket)
        with pytest.raises(errors.TetrisError) as refused:
            rpc.call("PublishPath", pb.PublishPathRequest(path=str(bad)))
        assert one_sentence(refused.value)
        assert "t0" in str(refused.value)
        assert files_under(daemon.root) == set()
        rpc.call("PublishPath", pb.PublishPathRequest(path=str(good)))
        assert daemon.process.poll() is None


# Interrupted calls: EINTR.


def test_signals_without_end_disturb_nothing(zygote, tmp_path):
    """Handlers that restart no call, in both ends, while models are published and read."""
    with host_on(zygote, tmp_path, "size=256m") as host:
        host.start(interruptible=True)
        models = [random_model(host.models / f"m{i}", tensors=4, kib=1024) for i in range(8)]
        victims = [host.daemon]
        publishers = [
            zygote.fork(
                "support.programs:publish",
                str(host.socket),
                str(path),
                how,
                log=str(tmp_path / "log"),
                interruptible=True,
            )
            for path in models
            for how in ("path", "stream")
        ]
        victims += publishers
        while any(p.poll() is None for p in publishers):
            for victim in victims:
                if victim.status is None:
                    victim.kill(signal.SIGUSR2)
            time.sleep(0.002)
        assert [p.status for p in publishers] == [0] * len(publishers), (
            tmp_path / "log"
        ).read_text()
        for path in models:
            assert_works(host, path)
        host.comes_clean()


# A root that cannot be written to.

_FS_IOC_SETFLAGS, _FS_IOC_GETFLAGS, _FS_IMMUTABLE_FL = 0x40086602, 0x80086601, 0x10
_MS_RDONLY, _MS_REMOUNT = 1, 32


def remount(mount: Path, flags: int) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    failed = libc.mount(None, os.fsencode(mount), None, _MS_REMOUNT | flags, None)
    return ctypes.get_errno() if failed else 0


def freeze(directory: Path, frozen: bool) -> None:
    """Let nobody, root included, make or remove files in ``directory``."""
    fd = os.open(directory, os.O_RDONLY)
    try:
        flags = array.array("l", [0])
        fcntl.ioctl(fd, _FS_IOC_GETFLAGS, flags)
        flags[0] = flags[0] & ~_FS_IMMUTABLE_FL | (_FS_IMMUTABLE_FL if frozen else 0)
        fcntl.ioctl(fd, _FS_IOC_SETFLAGS, flags)
    except OSError as failed:
        pytest.skip(f"this kernel's tmpfs has no immutable directories: {failed}")
    finally:
        os.close(fd)


def test_a_read_only_root_is_refused_at_the_start(zygote, tmp_path):
    """In one sentence; writable again, it is taken as it was left."""
    with host_on(zygote, tmp_path, "size=64m") as host:
        host.start()
        kept = random_model(host.models / "kept")
        publish(host, kept, "path")
        host.stop()
        assert remount(host.mount, _MS_RDONLY) == 0
        before = host.log
        flags = [f"--root={host.root}", f"--socket={host.socket}"]
        refused = zygote.fork("tetrisd.main:main", flags, log=str(tmp_path / "refused"))
        assert refused.wait() == 1
        said = (tmp_path / "refused").read_text().splitlines()
        assert len(said) == 1
        assert str(host.root) in said[0]
        assert host.log == before
        assert remount(host.mount, 0) == 0
        host.start()
        assert_works(host, kept)
        host.comes_clean()


def test_a_running_daemons_root_does_not_become_read_only(zygote, tmp_path):
    """Its lock is open for writing: the kernel refuses."""
    with host_on(zygote, tmp_path, "size=64m") as host:
        host.start()
        assert remount(host.mount, _MS_RDONLY) != 0


@pytest.mark.parametrize(
    ("directory", "refused"),
    [
        ("objects/_shared", {"PublishPath"}),
        ("models/default", {"PublishPath"}),
        ("tenants/default", {"PublishPath", "Attach"}),
        ("leases/default", {"Attach"}),
    ],
)
def test_a_directory_that_takes_no_files_is_a_refusal_and_no_end(
    zygote, tmp_path, directory, refused
):
    """What is mapped stays, what cannot be done is refused in a sentence; then all works again."""
    with host_on(zygote, tmp_path, "size=64m") as host:
        host.start()
        kept, fresh = (random_model(host.models / name) for name in ("kept", "fresh"))
        publish(host, kept, "path")
        with host.attach(kept) as reader:
            requests = {
                "PublishPath": pb.PublishPathRequest(path=str(fresh)),
                "Attach": pb.AttachRequest(fingerprint=reader.manifest.fingerprint),
            }
            freeze(host.root / directory, True)
            for method in refused:
                with pytest.raises(errors.TetrisError) as told:
                    host.call(method, requests[method])
                assert one_sentence(told.value)
                assert "see the daemon's log" not in str(told.value), host.log[-2000:]
            for method in requests.keys() - refused:
                host.call(method, requests[method])
            assert reader["t0"].tobytes() == data_file(kept).read_bytes()[: 64 * 1024]
            freeze(host.root / directory, False)
        assert_works(host, kept)
        assert_works(host, fresh)
        host.comes_clean()


# A daemon that stops.


def frame(kind: int, flags: int, payload: bytes = b"") -> bytes:
    """Of HTTP/2, on the connection itself."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + bytes(4) + payload


def test_a_daemon_that_stops_as_a_client_connects_is_an_error_at_once(tmp_path):
    """gRPC's own retries went in circles: until the deadline, and a publish has none."""
    goaway = frame(7, 0, (2**31 - 1).to_bytes(4, "big") + bytes(4))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "stopping.sock"))
        listener.listen()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(frame(4, 0) + frame(4, 1) + goaway)
                over.wait()

        over = threading.Event()
        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(errors.UnavailableError) as refused:
            Rpc(tmp_path / "stopping.sock").call("GetStats", pb.GetStatsRequest(), timeout=5)
        over.set()
        thread.join()
    assert "Deadline" not in str(refused.value)


# Standing still: SIGSTOP.


def stop(child: Child) -> None:
    child.kill(signal.SIGSTOP)
    state = Path(f"/proc/{child.pid}/stat")
    wait_until(lambda: state.read_text().rpartition(")")[2].split()[0] == "T", what="the stop")


def test_a_daemon_that_stands_still_fails_calls_by_their_deadline(zygote, tmp_path):
    """The client is free when it said; the daemon that goes on is as good as before."""
    with host_on(zygote, tmp_path, "size=64m") as host:
        host.start()
        kept, fresh = (random_model(host.models / name) for name in ("kept", "fresh"))
        publish(host, kept, "path")
        reader = host.attach(kept)
        stop(host.daemon)
        attach = pb.AttachRequest(fingerprint=reader.manifest.fingerprint)
        with pytest.raises(errors.UnavailableError) as refused:
            Rpc(host.socket).call("Attach", attach, timeout=1)
        assert one_sentence(refused.value)
        assert reader["t0"].tobytes() == data_file(kept).read_bytes()[: 64 * 1024]
        publisher = zygote.fork("support.programs:publish", str(host.socket), str(fresh), "path")
        time.sleep(1)
        assert publisher.poll() is None
        host.daemon.kill(signal.SIGCONT)
        assert publisher.wait() == 0
        reader.release()
        wait_until(lambda: host.leases() == [], what="the end of the lease that nobody took")
        host.comes_clean()


@pytest.mark.parametrize("who", ["daemon", "client"])
def test_standing_still_for_longer_than_the_idle_limit_loses_nothing(zygote, tmp_path, who):
    """In mid-publish: it may be cut off, and then starts again; nothing is left of the half."""
    with host_on(zygote, tmp_path, "size=256m", "--idle-seconds=1") as host:
        host.start()
        large = random_model(host.models / "large", tensors=64, kib=1024)
        publisher = zygote.fork(
            "support.programs:publish",
            str(host.socket),
            str(large),
            "stream",
            log=str(tmp_path / "log"),
        )
        wait_until(lambda: any((host.root / "objects").iterdir()), what="the first tensor")
        victim = host.daemon if who == "daemon" else publisher
        stop(victim)
        time.sleep(3)
        if who == "client" and publisher.poll() is None:
            host.comes_clean()  # the half is gone although its client is still there
        victim.kill(signal.SIGCONT)
        assert publisher.wait() == 0, (tmp_path / "log").read_text()
        assert_works(host, large)
        host.comes_clean()
