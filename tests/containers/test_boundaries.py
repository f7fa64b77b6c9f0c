"""What a container cannot do, root in it or not; and what a mount that is wrong is told."""

from __future__ import annotations

import json
import os
import shutil

import pytest

import tetris
from containers.conftest import GROUP, MOUNT
from containers.programs import ATTACKS, HOLD, REFUSED
from support.daemon import Daemon, wait_until
from support.models import random_model
from tetris.rpc import Rpc
from tetris.v1 import tetris_pb2 as pb

MIB = 1 << 20
READ_ONLY = "EROFS"


@pytest.fixture
def tenants(memory, tmp_path):
    """Two tenants, each with a model of its own."""
    tables = "".join(
        f'[tenants.{n}]\nsocket = "{tmp_path / n / "tetrisd.sock"}"\ngroup = "{GROUP}"\n'
        for n in ("blue", "red")
    )
    with Daemon(tmp_path / "d", root=memory / "root", config=tables) as daemon:
        for name in ("blue", "red"):
            model = random_model(tmp_path / "models" / name, tensors=1)
            tetris.publish(model, socket=tmp_path / name / "tetrisd.sock")
        yield daemon


def test_root_in_a_container_changes_nothing_and_sees_its_own_tenant(boxes, tenants):
    """By path, by a descriptor opened again, by the directory, by another mount."""
    (mine,) = (p.name for p in (tenants.root / "tenants/blue").iterdir() if len(p.name) == 64)
    (other,) = (p.name for p in (tenants.root / "tenants/red").iterdir() if len(p.name) == 64)
    before = (tenants.root / "tenants/blue" / mine).read_bytes()
    box = boxes.python(
        ATTACKS, mine, other, mount=tenants.root / "tenants/blue", options=("--user=0:0",)
    )
    came_of = json.loads(box.says("{"))
    assert came_of.pop("seen") == sorted([mine, "tetrisd.sock"])
    assert came_of.pop("other tenant") == "ENOENT"
    assert came_of.pop("remount") == "EPERM"
    assert set(came_of.values()) == {READ_ONLY}, came_of
    assert (tenants.root / "tenants/blue" / mine).read_bytes() == before


def refused(boxes, model, mount, *options) -> str:
    """What one attach is told: one sentence."""
    run = (f"--volume={model.parent}:{model.parent}:ro", *options)
    lines = boxes.python(REFUSED, model, mount=mount, options=run)
    told = lines.says("refused:")
    assert lines.log().strip() == told, "one line, and no traceback"
    return told


@pytest.fixture
def model(daemon, tmp_path):
    path = random_model(tmp_path / "models" / "m")
    tetris.publish(path, socket=daemon.socket)
    return path


def test_no_mount_is_one_sentence(boxes, model):
    assert f"no daemon at {MOUNT}/tetrisd.sock: start tetrisd, or" in refused(boxes, model, None)


def test_the_socket_without_the_view_is_one_sentence(boxes, daemon, model):
    told = refused(boxes, model, daemon.socket.parent)
    assert "mount the tenant's view of this daemon in the place of the socket's directory" in told


def test_the_socket_file_alone_is_one_sentence_once_the_daemon_has_restarted(boxes, daemon, model):
    sockets = f"--volume={daemon.socket}:{MOUNT}/tetrisd.sock:ro"
    code = f"import time; print('up', flush=True); time.sleep(600)\n{REFUSED}"
    options = (f"--volume={model.parent}:{model.parent}:ro", sockets)
    box = boxes.python(code, model, mount=None, options=options)
    box.says("up")
    daemon.stop()
    daemon.start()
    told = box.runs(REFUSED, model).stdout
    assert "the socket alone is mounted here, and a restarted daemon makes a new one" in told


def test_a_user_who_may_not_enter_is_told(boxes, view, model):
    told = refused(boxes, model, view, "--user=10001:10001")
    assert f"the socket {MOUNT}/tetrisd.sock is in a directory that this user may not enter" in told


@pytest.fixture
def contained(boxes, shared_memory, tmp_path):
    """Starts the daemon's image on a directory of the tmpfs that its user owns."""
    root = shared_memory / f"contained-{os.getpid()}"
    root.mkdir(mode=0o755)
    os.chown(root, GROUP, GROUP)
    (tmp_path / "models").mkdir()

    def start(*options):
        mounts = (f"--volume={root}:/dev/shm/tetris", f"--volume={tmp_path}/models:/models:ro")
        run = ("--tmpfs=/tmp", *mounts, *options)
        box = boxes.start("tetrisd", "--model-root=/models", options=run)
        wait_until((root / "tenants/default/tetrisd.sock").exists, 60, "the daemon's start")
        return box

    yield root, start
    shutil.rmtree(root)


def test_a_daemon_in_a_container_serves_other_containers(boxes, contained, tmp_path):
    root, start = contained
    daemon = start()
    random_model(tmp_path / "models" / "m")
    models = (f"--volume={tmp_path}/models:/models:ro",)
    box = boxes.python(HOLD, "/models/m", mount=root / "tenants/default", options=models)
    told = box.says("holds 3 tensors")
    done = daemon.podman("exec", daemon.id, "tetrisctl", "leases", "--json")
    assert json.loads(done.stdout)[0]["model"] == "m"
    daemon.podman("rm", "--force", "--time=10", daemon.id)
    again = start()
    assert box.runs(HOLD, "/models/m", "once").stdout.strip() == told
    again.podman("stop", again.id)
    assert again.state()["ExitCode"] == 0


def test_a_daemon_in_a_container_refuses_what_its_limit_cannot_hold(contained, tmp_path):
    """Its pages are charged to its own control group, past whose limit it would be killed."""
    root, start = contained
    daemon = start("--memory=384m", "--memory-swap=384m", "--env=TETRISD_HEADROOM=64MiB")
    random_model(tmp_path / "models" / "large", tensors=4, kib=128 * 1024)
    args = ("exec", daemon.id, "tetrisctl", "publish", "/models/large")
    done = daemon.podman(*args, check=False)
    assert done.returncode
    assert "the memory limit of the daemon's control group" in done.stderr
    stats = Rpc(root / "tenants/default/tetrisd.sock").call("GetStats", pb.GetStatsRequest())
    assert stats.models == 0
