"""What tetrisctl shows on a real terminal, and what it must never send to one."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import tetris
from support.models import floats, write_model
from support.terminal import TETRISCTL, Terminal
from tetris.cli.main import main
from tetris.rpc import Rpc
from tetris.v1 import tetris_pb2 as pb
from tetris.v1.admin_pb2 import ModelRequest

EVIL = "\x1b]0;owned\x07\x1b[2J\r\u202e"


@pytest.fixture
def evil(daemon, tmp_path):
    """A model with a tensor, and with a lease, that would steer a terminal."""
    path = write_model(tmp_path / "models" / "m" / "1", {f"t{EVIL}": ((1,), floats(1))})
    manifest = tetris.publish(path, socket=daemon.socket)
    holder = pb.Holder(pid=1, command=f"c{EVIL}", host=f"h{EVIL}")
    Rpc(daemon.socket).call(
        "Attach", pb.AttachRequest(fingerprint=manifest.fingerprint, holder=holder)
    )
    return manifest


@pytest.fixture
def run(daemon, capsys):
    def call(*words):
        sockets = ["--socket", str(daemon.socket), "--admin-socket", str(daemon.admin_socket)]
        status = main([*words, *sockets])
        out = capsys.readouterr()
        return status, out.out, out.err

    return call


@pytest.mark.parametrize("form", ["table", "wide"])
@pytest.mark.parametrize("words", [["leases"], ["show", "m/1"]])
def test_a_name_cannot_write_to_the_terminal_of_who_looks(run, evil, words, form):
    status, out, err = run(*words, "-o", form)
    assert status == 0, err
    assert out.replace("\n", "").isprintable()
    assert "\\x1b" in out


def test_an_error_cannot_either(run, evil):
    status, _, err = run("show", f"m{EVIL}")
    assert status == 4
    assert err.endswith("\n")
    assert err[:-1].isprintable()


def test_a_complaint_about_usage_cannot_either(capsys):
    with pytest.raises(SystemExit):
        main(["models", EVIL])
    assert capsys.readouterr().err.replace("\n", "").isprintable()


def test_json_gives_names_as_they_are(run, evil):
    out = run("show", "m/1", "-o", "json")[1]
    assert out.isascii()
    assert json.loads(out)["tensors"][0]["name"] == f"t{EVIL}"
    assert run("show", "m/1", "--json")[1] == out


@pytest.mark.parametrize(
    ("environment", "coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
)
def test_colour_is_for_terminals_that_want_it(daemon, evil, environment, coloured):
    daemon.admin("Pin", ModelRequest(tenant="default", model="m/1"))
    with Terminal(*TETRISCTL, "models", "--socket", str(daemon.socket), **environment) as screen:
        assert screen.end() == 0
    assert ("\x1b[36mpinned\x1b[0m" in screen.shown) == coloured
    assert ("\x1b" in screen.shown) == coloured


@pytest.mark.parametrize("columns", [40, 80, 132])
def test_a_table_fits_the_terminal(daemon, tmp_path, columns):
    name = "a-very-long-name-of-a-tensor" * 6
    path = write_model(tmp_path / "models" / ("m" * 200) / "1", {name: ((1,), floats(1))})
    manifest = tetris.publish(path, socket=daemon.socket)
    for words in (["models"], ["show", manifest.fingerprint.hex()], ["segments"]):
        with Terminal(
            *TETRISCTL, *words, "--socket", str(daemon.socket), columns=columns
        ) as screen:
            assert screen.end() == 0
        table = [line for line in screen.shown.splitlines() if ", published" not in line]
        assert max(len(line) for line in table) <= columns


def test_a_screen_without_unicode_is_no_reason_to_fail(daemon, tmp_path):
    path = write_model(tmp_path / "models" / "模型" / "1", {"t": ((1,), floats(1))})
    tetris.publish(path, socket=daemon.socket)
    with Terminal(
        *TETRISCTL, "models", "--socket", str(daemon.socket), PYTHONIOENCODING="ascii"
    ) as screen:
        assert screen.end() == 0
    assert "\\u6a21\\u578b/1" in screen.shown


@pytest.mark.parametrize("command", ["version", "completion bash"])
def test_a_full_disk_is_one_sentence(command):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, *TETRISCTL, *command.split()],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.stderr == "tetrisctl: the output is cut off: No space left on device\n"
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("closing", "command", "status"),
    [(">&-", "version", 0), ("2>&-", "models --socket /nowhere/s", 3)],
)
def test_a_stream_that_is_closed_is_not_written_to(closing, command, status):
    """Nor is the other one in its place."""
    done = subprocess.run(
        ["sh", "-c", f'"$@" {closing}', "sh", sys.executable, *TETRISCTL, *command.split()],
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("", "", status)
