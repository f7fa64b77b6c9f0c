"""The daemon as a process: one per root, health, modes, its start and its end."""

from __future__ import annotations

import os
import signal
import stat
import subprocess

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

import tetris
from support.daemon import PYTHON, Daemon, wait_until
from support.models import data_file, let_through, random_model
from tetris.rpc import Rpc
from tetris.v1 import tetris_pb2 as pb


def start_second(*flags):
    return subprocess.run(
        [*PYTHON, "-m", "tetrisd", *flags],
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_second_daemon_on_the_root_refuses_and_says_who_has_it(daemon, tmp_path):
    second = start_second(f"--root={daemon.root}", f"--socket={tmp_path}/other.sock")
    assert second.returncode == 1
    assert f"pid {daemon.process.pid}" in second.stderr
    assert len(second.stderr.strip().splitlines()) == 1


def test_a_second_daemon_on_the_socket_refuses(daemon, memory):
    second = start_second(f"--root={memory}/other", f"--socket={daemon.socket}")
    assert second.returncode == 1
    assert "in use" in second.stderr
    Rpc(daemon.socket).call("GetStats", pb.GetStatsRequest())


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--root=/proc/tetris", "--socket={tmp}/s"], "root /proc/tetris"),
        (["--root={memory}/root", "--socket={memory}/open/s"], "others may not write"),
        (["--root={memory}/no/such/root", "--socket={tmp}/s"], "does not exist"),
        (["--root={memory}/root", "--socket={tmp}/no/such/s"], "No such file"),
        (["--root={memory}/root", "--socket={tmp}/" + "x" * 120], "shorter"),
        (["--root={memory}/root", "--socket={tmp}"], "no socket"),
    ],
)
def test_a_start_that_cannot_work_is_one_sentence(tmp_path, memory, flags, words):
    (memory / "open").mkdir()
    (memory / "open").chmod(0o777)
    failed = start_second(*(f.format(tmp=tmp_path, memory=memory) for f in flags))
    assert failed.returncode == 1
    assert words in failed.stderr
    assert "Traceback" not in failed.stderr


def test_it_says_whether_huge_pages_are_in_effect(daemon):
    assert "huge pages are" in daemon.log


def test_health_and_reflection_answer(daemon):
    with grpc.insecure_channel(f"unix:{daemon.socket}") as channel:
        checks = health_pb2_grpc.HealthStub(channel)
        for service in ("", "tetris.v1.Tetris"):
            answer = checks.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        (answer,) = stub.ServerReflectionInfo(iter([request]))
        assert "tetris.v1.Tetris" in {s.name for s in answer.list_services_response.service}


def test_the_socket_and_the_root_have_the_modes_that_are_the_authority(daemon):
    assert stat.S_IMODE(daemon.socket.stat().st_mode) == 0o660
    assert stat.S_IMODE(daemon.socket.parent.stat().st_mode) == 0o750
    for name in ("objects", "models/default", "leases"):
        assert stat.S_IMODE((daemon.root / name).stat().st_mode) == 0o700
    assert stat.S_IMODE((daemon.root / "tenants/default").stat().st_mode) == 0o750


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_is_clean(daemon, how):
    assert daemon.stop(how) == 0
    assert not daemon.socket.exists()
    assert "Traceback" not in daemon.log


def test_the_root_lock_does_not_reach_children(memory, tmp_path):
    """An orphan that had inherited it would keep the next daemon out."""
    code = (
        "import subprocess, sys, pathlib\n"
        "from tetrisd.root import Root\n"
        "root = Root(pathlib.Path(sys.argv[1]))\n"
        "child = subprocess.Popen(['sleep', '60'], close_fds=False)\n"
        "print(child.pid, flush=True)"
    )
    child = subprocess.Popen(
        [*PYTHON, "-c", code, str(memory / "root")],
        stdout=subprocess.PIPE,
        text=True,
    )
    pid = int(child.stdout.readline())
    child.wait(30)
    child.stdout.close()
    try:
        with Daemon(tmp_path, root=memory / "root"):
            pass
    finally:
        os.kill(pid, signal.SIGKILL)


def test_a_restart_finds_models_and_serves_them_without_reading_the_files(daemon, tmp_path):
    path = random_model(tmp_path / "models" / "m")
    manifest = tetris.publish(path, socket=daemon.socket)
    daemon.stop()
    for file in (path / "variables").iterdir():
        if "data" in file.name:
            file.unlink()
    daemon.start()
    with tetris.attach(path, socket=daemon.socket) as model:
        assert model.manifest == manifest
        assert model["t0"].nbytes == 65536


UNPRIVILEGED = """
import os, shutil, sys
import tetrisd.main
tetrisd.main.settings_module.parse(sys.argv[1:])  # what it imports may be closed to others later
os.setgroups([]); os.setgid(65534); os.setuid(65534)
sys.exit(tetrisd.main.main(sys.argv[1:]))
"""


def test_it_runs_without_privileges(memory, tmp_path):
    """Also the removal of what a failed publish made: segments are 0444 for their owner, too."""
    if os.geteuid() != 0:
        pytest.skip("every run is such a run")
    home, run = memory / "nobody", tmp_path / "run"
    for directory in (home, run):
        directory.mkdir()
        os.chown(directory, 65534, 65534)
    let_through(tmp_path, memory)
    process = subprocess.Popen(
        [
            *PYTHON,
            "-c",
            UNPRIVILEGED,
            f"--root={home}/root",
            f"--socket={run}/tetrisd.sock",
            "--socket-mode=600",
            f"--model-root={tmp_path}/models",
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        said = []
        while "ready on" not in (line := process.stderr.readline()):
            said.append(line)
            assert line, "".join(said)
        path = random_model(tmp_path / "m")
        with tetris.attach(path, socket=run / "tetrisd.sock") as model:
            assert model["t0"].nbytes == 65536
        closed = random_model(tmp_path / "models" / "closed")
        (closed / "variables").chmod(0o700)
        request = pb.PublishPathRequest(path=str(closed))
        with pytest.raises(tetris.errors.NotAllowedError, match="permission denied"):
            Rpc(run / "tetrisd.sock").call("PublishPath", request)
        objects = set(os.listdir(home / "root/objects/_shared"))
        broken = random_model(tmp_path / "broken")
        body = bytearray(data_file(broken).read_bytes())
        body[-1] ^= 1
        data_file(broken).write_bytes(body)
        with pytest.raises(tetris.errors.CorruptDataError):
            tetris.publish(broken, socket=run / "tetrisd.sock")
        wait_until(
            lambda: set(os.listdir(home / "root/objects/_shared")) == objects, what="the clean-up"
        )
    finally:
        process.terminate()
        assert process.wait(30) == 0
        process.stderr.close()
