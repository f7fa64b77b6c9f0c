"""Containers share a model by one read-only mount, whatever they are allowed themselves."""

from __future__ import annotations

import json
import os

import pytest

import tetris
from containers.programs import HOLD, REPORT
from support import invariants
from support.daemon import Daemon, wait_until
from support.models import random_model
from tetris.rpc import Rpc
from tetris.v1 import tetris_pb2 as pb

MIB = 1 << 20


def occupied(path) -> int:
    fs = os.statvfs(path)
    return (fs.f_blocks - fs.f_bfree) * fs.f_frsize


def leases(daemon) -> int:
    return len(Rpc(daemon.socket).collect("ListLeases", pb.ListLeasesRequest(), lambda m: m))


def referenced(daemon) -> int:
    rpc = Rpc(daemon.socket)
    segments = rpc.collect("ListSegments", pb.ListSegmentsRequest(), lambda m: m)
    return sum(segment.referenced for segment in segments)


@pytest.fixture
def model(daemon, tmp_path):
    """Published already: 4 tensors, 64 MiB."""
    path = random_model(tmp_path / "models" / "m", tensors=4, kib=16 * 1024)
    tetris.publish(path, socket=daemon.socket)
    return path


@pytest.fixture
def models(model):
    """Mounted where the host has it."""
    return (f"--volume={model.parent}:{model.parent}:ro",)


def test_a_second_container_adds_next_to_nothing(boxes, daemon, view, model, models):
    """One mount, no variable, another user, nothing that can be written to."""
    before = occupied(view)
    first = boxes.python(HOLD, model, mount=view, options=models)
    told = first.says("holds")
    second = boxes.python(HOLD, model, mount=view, options=models)
    assert second.says("holds") == told
    assert occupied(view) - before <= 2 * 4096, "a lease each"
    assert (leases(daemon), referenced(daemon)) == (2, 4)


@pytest.mark.parametrize("shm", [(), ("--shm-size=1m",)], ids=["64 MB", "1 MB"])
def test_its_own_shared_memory_may_be_smaller_than_the_model(
    boxes, daemon, view, model, models, shm
):
    large = random_model(model.parent / "large", tensors=3, kib=32 * 1024)
    box = boxes.python(HOLD, large, mount=view, options=(*models, *shm))
    box.says("holds 3 tensors")
    facts = json.loads(box.runs(REPORT).stdout)
    assert facts["shm"] < 96 * MIB


def test_a_model_may_be_larger_than_its_memory_limit(boxes, view, model, models):
    """The pages are charged to whoever wrote them: the daemon."""
    large = random_model(model.parent / "large", tensors=4, kib=96 * 1024)
    limit = ("--memory=256m", "--memory-swap=256m")
    box = boxes.python(HOLD, large, mount=view, options=(*models, *limit))
    box.says("holds 4 tensors")
    facts = json.loads(box.runs(REPORT).stdout)
    assert facts["limit"] == 256 * MIB
    assert facts["charged"] < 200 * MIB


def test_a_daemon_that_restarts_is_met_again_through_the_same_mount(
    boxes, daemon, view, model, models
):
    box = boxes.python(HOLD, model, mount=view, options=models)
    told = box.says("holds")
    for end in (daemon.kill, daemon.stop):
        end()
        daemon.start()
        again = box.runs(HOLD, model, "once")
        assert again.stdout.strip() == told, again.stderr
    box.kill("USR1")
    assert box.says("still").removeprefix("still ") == told
    # On a read-only mount a lease that was never taken looks like one that ended, for 10 s.
    wait_until(lambda: leases(daemon) == 1, what="the end of the leases of those that are gone")


def test_a_container_that_is_killed_leaves_nothing(boxes, daemon, view, model, models):
    box = boxes.python(HOLD, model, mount=view, options=models)
    box.says("holds")
    box.kill()
    wait_until(lambda: (leases(daemon), referenced(daemon)) == (0, 0), what="the kernel's part")
    wait_until(lambda: not invariants.leaked(daemon.root), what="the daemon's part")


def test_a_container_that_runs_out_of_memory_leaves_nothing(boxes, daemon, view, model, models):
    limit = ("--memory=128m", "--memory-swap=128m")
    box = boxes.python(HOLD, model, "greedy", mount=view, options=(*models, *limit))
    box.says("holds")
    wait_until(box.ended, 60, "the kernel's killing")
    assert box.state()["ExitCode"] == 137
    wait_until(lambda: (leases(daemon), referenced(daemon)) == (0, 0), what="the kernel's part")
    wait_until(lambda: not invariants.leaked(daemon.root), what="the daemon's part")
    assert daemon.process.poll() is None


def test_two_mounts_serve_as_well(boxes, daemon, view, model, models):
    """The socket's directory, and the view elsewhere: for who wants them apart."""
    run = (f"--volume={view}:/tetris:ro", "--env=TETRIS_VIEW=/tetris")
    box = boxes.python(HOLD, model, mount=daemon.socket.parent, options=(*models, *run))
    box.says("holds 4 tensors")


@pytest.mark.timeout(1200)  # an image with TensorFlow is built for it
def test_an_unchanged_tensorflow_program_shares(boxes, daemon, view, convolution):
    models = f"--volume={convolution.parents[1]}:/models:ro"
    path = "/models/convolution/1"
    run = (f"--volume={view}:/run/tetris/default:ro", models)
    shared = [boxes.start("classify", path, options=run) for _ in range(2)]
    stock = boxes.start(
        "classify", "/app/classify.py", path, options=(models, "--entrypoint=python")
    )
    outputs = {json.loads(box.says("output"))["output"] for box in (*shared, stock)}
    assert len(outputs) == 1
    assert leases(daemon) == 2
    assert "without sharing" not in "".join(box.log() for box in shared)


def test_a_tenant_of_many_is_served_by_its_own_view(boxes, memory, tmp_path):
    root = memory / "root"
    tables = "".join(
        f'[tenants.{n}]\nsocket = "{tmp_path / n / "tetrisd.sock"}"\ngroup = "65532"\n'
        for n in ("blue", "red")
    )
    path = random_model(tmp_path / "models" / "m")
    with Daemon(tmp_path / "d", root=root, config=tables):
        options = (f"--volume={path.parent}:{path.parent}:ro",)
        box = boxes.python(HOLD, path, mount=root / "tenants/red", options=options)
        box.says("holds 3 tensors")
        assert len(list((root / "tenants/red").glob("*.lease"))) == 1
        assert [p.name for p in (root / "tenants/blue").iterdir()] == ["tetrisd.sock"]
