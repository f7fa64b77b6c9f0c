"""Stock TensorFlow and a real daemon, end to end: what a user does, in processes of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from support.daemon import PYTHON, Daemon, run_python
from support.tmpfs import tmpfs

pytest.importorskip("tensorflow")

BUILD = """
import sys
import numpy as np
import tensorflow as tf

class Model(tf.Module):
    def __init__(self, seed):
        random = np.random.default_rng(seed)
        self.kernel = tf.Variable(random.standard_normal((2048, 1024), dtype=np.float32))
        self.bias = tf.Variable(random.standard_normal(1024, dtype=np.float32))

    @tf.function(input_signature=[tf.TensorSpec((None, 2048))])
    def __call__(self, x):
        return x @ self.kernel + self.bias

tf.saved_model.save(Model(int(sys.argv[2])), sys.argv[1])
"""

# An unchanged program: nothing of ours in it.
PROGRAM = """
import hashlib, json, sys
import numpy as np
import tensorflow as tf

model = tf.saved_model.load(sys.argv[1])
if "train" in sys.argv:
    model.kernel.assign_add(tf.ones_like(model.kernel))
x = np.random.default_rng(1).standard_normal((3, 2048), dtype=np.float32)
print(json.dumps(hashlib.sha256(model(x).numpy().tobytes()).hexdigest()), flush=True)
if "wait" in sys.argv:
    sys.stdin.read()
"""

QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    for seed in (1, 2):
        built = run_python(BUILD, str(root / f"m{seed}" / "1"), str(seed), **QUIET)
        assert built.returncode == 0, built.stderr
    return root


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    path = tmp_path_factory.mktemp("program") / "serve.py"
    path.write_text(PROGRAM)
    return path


@pytest.fixture
def daemon(memory, tmp_path, models):
    with Daemon(tmp_path, f"--model-root={models}", root=memory / "root") as running:
        yield running


def start(program, *arguments, socket=None):
    """The program, stock or under ``python -m tetris``."""
    sharing = ["-m", "tetris"] if socket else []
    return subprocess.Popen(
        [*PYTHON, *sharing, program, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **QUIET, "TETRIS_SOCKET": str(socket or "")},
    )


def run(program, *arguments, socket=None):
    """Its answer, and what it complained of."""
    child = start(program, *arguments, socket=socket)
    answer, complaints = child.communicate(timeout=240)
    assert child.returncode == 0, complaints
    return json.loads(answer), complaints


def ctl(daemon, *arguments):
    done = run_python(
        "import sys; from tetris.cli import start; sys.exit(start())",
        "--socket",
        str(daemon.socket),
        "--json",
        *arguments,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_an_unchanged_program_publishes_shares_and_answers_the_same(daemon, models, program):
    expected, _ = run(program, models / "m1" / "1")
    for _ in range(2):
        answer, complaints = run(program, models / "m1" / "1", socket=daemon.socket)
        assert answer == expected
        assert "without sharing" not in complaints
    (model,) = ctl(daemon, "models")
    assert model["name"] == "m1/1"
    assert daemon.log.count("published m1/1") == 1
    assert ctl(daemon, "leases") == [], "both are gone, and so are their leases"


def test_training_in_one_process_changes_nothing_for_another(daemon, models, program):
    expected, _ = run(program, models / "m1" / "1")
    waiting = start(program, models / "m1" / "1", "wait", socket=daemon.socket)
    try:
        assert json.loads(waiting.stdout.readline()) == expected
        assert len(ctl(daemon, "leases")) == 1
        assert ctl(daemon, "stat")["references"] >= 2
        trained, _ = run(program, models / "m1" / "1", "train", socket=daemon.socket)
        assert trained != expected
        again, _ = run(program, models / "m1" / "1", socket=daemon.socket)
        assert again == expected
    finally:
        waiting.communicate()
    assert ctl(daemon, "stat")["references"] == 0


def test_a_checkpoint_that_is_overwritten_gives_the_new_weights(daemon, models, program, tmp_path):
    """The path is the same; the fingerprint, taken at every restore, is not."""
    place = tmp_path / "place"
    for seed in (1, 2):
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(models / f"m{seed}" / "1", place)
        expected, _ = run(program, place)
        assert run(program, place, socket=daemon.socket)[0] == expected


@pytest.mark.parametrize("trouble", ["absent", "killed", "full"])
def test_whatever_goes_wrong_the_program_runs_and_says_why_once(models, program, tmp_path, trouble):
    path = models / "m1" / "1"
    expected, _ = run(program, path)
    with tmpfs("size=2m") as small:
        daemon = Daemon(tmp_path, f"--model-root={models}", root=small / "root")
        if trouble != "absent":
            daemon.start()
        if trouble == "killed":
            daemon.kill()
        answer, complaints = run(program, path, socket=daemon.socket)
        if daemon.process is not None:
            daemon.stop()
    assert answer == expected
    assert complaints.count("is loaded without sharing") == 1


def test_damaged_data_gets_tensorflows_own_error(daemon, models, program, tmp_path):
    path = Path(shutil.copytree(models / "m1" / "1", tmp_path / "copy"))
    data = path / "variables" / "variables.data-00000-of-00001"
    body = bytearray(data.read_bytes())
    body[-1] ^= 1
    data.write_bytes(body)
    stock, ours = (
        start(program, path, socket=socket).communicate(timeout=240)[1]
        for socket in (None, daemon.socket)
    )
    assert "Checksum does not match" in stock
    assert "Checksum does not match" in ours
    assert ctl(daemon, "models") == []
