"""Ctrl-C in mid-work leaves nothing behind: no model, no file, no traceback, no half-drawn line."""

from __future__ import annotations

import os
import subprocess
import threading

import pytest

import tetris
from support.daemon import PYTHON, files_under, wait_until
from support.models import random_model
from support.terminal import TETRISCTL, Terminal
from tetris.formats.model import locate
from tetris.rpc import Rpc
from tetris.upload import upload

INTERRUPTED = 130


@pytest.fixture
def big(tmp_path):
    """Makes a model that takes a while, below the root that the daemon may read or beside it."""

    def make(where: str):
        return random_model(tmp_path / where / "big" / "1", tensors=8, kib=32 << 10)

    return make


@pytest.mark.parametrize("where", ["models", "elsewhere"], ids=["by path", "by stream"])
def test_an_interrupted_publish_leaves_nothing(daemon, big, where):
    words = ("publish", str(big(where)), "--socket", str(daemon.socket))
    with Terminal(*TETRISCTL, *words) as screen:
        wait_until(lambda: files_under(daemon.root), what="the first byte")
        screen.press("\x03")
        assert screen.end() == INTERRUPTED
    assert "Traceback" not in screen.shown
    assert "fingerprint" not in screen.shown
    wait_until(lambda: not files_under(daemon.root), what="the clean-up")


def test_an_interrupted_verification_leaves_the_store_as_it_was(daemon, big):
    tetris.publish(big("models"), socket=daemon.socket)
    before = files_under(daemon.root)
    with Terminal(*TETRISCTL, "verify", "--admin-socket", str(daemon.admin_socket)) as screen:
        screen.until("%")
        screen.press("\x03")
        assert screen.end() == INTERRUPTED
    assert "Traceback" not in screen.shown
    assert "verified" not in screen.shown
    assert screen.shown.replace("^C", "").endswith("\r\x1b[K")
    assert files_under(daemon.root) == before


def test_a_bar_is_for_a_terminal_alone(daemon, big):
    tetris.publish(big("models"), socket=daemon.socket)
    words = (*TETRISCTL, "verify", "--admin-socket", str(daemon.admin_socket))
    with Terminal(*words) as screen:
        assert screen.end() == 0
    assert "256.0 MiB of 256.0 MiB" in screen.shown
    assert screen.shown.splitlines()[-1].endswith("256.0 MiB verified, 0 findings")
    piped = subprocess.run(
        [*PYTHON, *words], capture_output=True, text=True, timeout=60, check=True
    )
    assert piped.stderr == ""


def test_publish_shows_how_far_the_daemon_is(daemon, tmp_path):
    """Also with what another publisher of the model is at, whom it waits for."""
    files = locate(str(random_model(tmp_path / "elsewhere" / "m", tensors=2)))
    goes_on = threading.Event()

    def half_and_then_the_rest():
        header, first, *rest = upload(files)
        yield from (header, first)
        goes_on.wait(60)
        yield from rest

    with Rpc(daemon.socket).stub() as stub:
        other = stub.Publish.future(half_and_then_the_rest())
        words = ("publish", str(tmp_path / "elsewhere" / "m"), "--socket", str(daemon.socket))
        with Terminal(*TETRISCTL, *words) as screen:
            assert "64.0 KiB of 128.0 KiB" in screen.until(" 50%")
            goes_on.set()
            assert screen.end() == 0
        assert other.result(30).published
    assert "2 tensors in 2 segments" in screen.shown.split("\x1b[K")[-1]


def test_ctrl_c_before_anything_is_imported_is_no_traceback(tmp_path):
    early = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n"
    (tmp_path / "grpc.py").write_text(early)
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    with Terminal(*TETRISCTL, "stat", PYTHONPATH=path) as screen:
        assert screen.end() == INTERRUPTED
    assert screen.shown == ""
