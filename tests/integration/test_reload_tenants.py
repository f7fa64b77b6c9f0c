"""Tenants that come and go while the daemon runs."""

from __future__ import annotations

import os
import subprocess

import grpc
import pytest

import tetris
from support.daemon import PYTHON, wait_until
from support.models import random_model
from support.reloading import names, tenant
from support.watching import watching
from tetris.errors import (
    ConflictError,
    UnavailableError,
)
from tetris.rpc import Rpc


def test_a_tenant_that_is_new_is_served_at_once(start, tmp_path):
    daemon = start(tenant(tmp_path, "red"))
    answer = daemon.reload(tenant(tmp_path, "red") + tenant(tmp_path, "blue", "quota = '1MiB'"))
    assert list(answer.changed) == ["tenant blue: new"]
    assert names(daemon) == ["red", "blue"]
    with tetris.attach(random_model(tmp_path / "m"), socket=tmp_path / "blue" / "s") as model:
        assert model["t0"].nbytes == 65536


USES = """
import sys, tetris
model = tetris.attach(sys.argv[1], socket=sys.argv[2])
array = model["t0"]
print("using", flush=True)
sys.stdin.readline()
print(array.tobytes() == model["t0"].tobytes() and model["t1"].nbytes, flush=True)
"""


def test_one_that_goes_disturbs_nobody_and_goes_with_its_last_user(start, tmp_path, red):
    daemon = start(tenant(tmp_path, "red") + tenant(tmp_path, "blue"))
    path = random_model(tmp_path / "m")
    user = subprocess.Popen(
        [*PYTHON, "-c", USES, path, red], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert user.stdout.readline() == "using\n"
    with watching(Rpc(red)) as watcher:
        answer = daemon.reload(tenant(tmp_path, "blue"))
        wait_until(lambda: watcher.code, what="the end of the stream")
        assert watcher.code == grpc.StatusCode.OK
    assert list(answer.changed) == ["tenant red: served no more"]
    assert not red.exists()
    with pytest.raises(UnavailableError):
        tetris.attach(path, socket=red)
    tetris.publish(path, socket=tmp_path / "blue" / "s")
    assert names(daemon) == ["red", "blue"]
    print(file=user.stdin, flush=True)
    assert user.stdout.readline() == "65536\n"
    user.communicate()
    wait_until(lambda: names(daemon) == ["blue"], what="the end of red")
    assert os.listdir(daemon.root / "tenants") == ["blue"]
    daemon.reload(tenant(tmp_path, "blue") + tenant(tmp_path, "red"))
    with tetris.attach(path, socket=red) as model:
        assert model["t0"].nbytes == 65536


def test_one_that_comes_back_before_that_has_its_models_still(start, tmp_path, red):
    both = tenant(tmp_path, "blue") + tenant(tmp_path, "red")
    daemon = start(both)
    path = random_model(tmp_path / "m")
    with tetris.attach(path, socket=red) as model:
        reference = model["t0"]
        model.release()  # a mapping without a lease: the view stays, the model goes
        daemon.reload(tenant(tmp_path, "blue"))
        wait_until(lambda: not os.listdir(daemon.root / "models/red"), what="the end of the model")
        for _ in range(3):
            daemon.reload(both)
            with tetris.attach(path, socket=red) as again:
                assert again["t0"].tobytes() == reference.tobytes()
            daemon.reload(tenant(tmp_path, "blue"))


def test_one_that_comes_back_sharing_otherwise_has_to_wait(start, tmp_path, red):
    daemon = start(tenant(tmp_path, "blue") + tenant(tmp_path, "red"))
    other = tenant(tmp_path, "blue") + tenant(tmp_path, "red", 'sharing = "tenant"')
    with tetris.attach(random_model(tmp_path / "m"), socket=red):
        daemon.reload(tenant(tmp_path, "blue"))
        with pytest.raises(ConflictError, match="try again when they are gone"):
            daemon.reload(other)
        assert not red.exists()
    wait_until(lambda: names(daemon) == ["blue"], what="the end of red")
    daemon.reload(other)
    tetris.publish(tmp_path / "m", socket=red)
    assert os.listdir(daemon.root / "objects/red")
