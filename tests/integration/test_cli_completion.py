"""Completion in real shells: commands, flags, the daemon's names, and never an error text."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import tetris
from support.daemon import PYTHON
from support.models import random_model
from tetris.cli.main import main

SHELLS = {
    "bash": """
eval "$(tetrisctl completion bash)"
COMP_WORDS=(tetrisctl {words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _tetrisctl
printf '%s\\n' "${{COMPREPLY[@]}}"
""",
    "zsh": """
compdef() {{ : }}; _files() {{ print FILES }}; compadd() {{ shift; print -l -- "$@" }}
eval "$(tetrisctl completion zsh)"
words=(tetrisctl {words}); CURRENT=${{#words}}; _tetrisctl
""",
    "fish": """
tetrisctl completion fish | source
complete -C {line}
""",
}


@pytest.fixture
def home(tmp_path):
    """A directory with ``tetrisctl`` as a command."""
    home = tmp_path / "home"
    home.mkdir()
    command = home / "tetrisctl"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m tetris.cli "$@"\n')
    command.chmod(0o755)
    return home


@pytest.fixture(params=SHELLS)
def shell(request, home, daemon):
    """Completes a line in a real shell; what it offers, and what it wrote besides."""
    if shutil.which(request.param) is None:
        pytest.skip(f"no {request.param} here")

    def complete(*words: str, socket: Path = daemon.socket) -> tuple[set[str], str]:
        script = SHELLS[request.param].format(
            words=shlex.join(words), line=shlex.quote("tetrisctl " + " ".join(words))
        )
        done = subprocess.run(
            [*PYTHON[:-1], request.param, "-c", script],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=home,
            env={
                **os.environ,
                "HOME": str(home),
                "PATH": f"{home}:{os.environ['PATH']}",
                "TETRIS_SOCKET": str(socket),
                "TETRIS_ADMIN_SOCKET": str(daemon.admin_socket),
            },
        )
        offered = {line.split("\t")[0] for line in done.stdout.splitlines() if line}
        return offered, done.stderr

    return complete


def test_commands_flags_and_names_are_completed(shell, daemon, tmp_path):
    for name in ("vgg16", "vgg19", "bert"):
        tetris.publish(random_model(tmp_path / name / "1"), socket=daemon.socket)
    assert shell("mod") == ({"models"}, "")
    assert shell("models", "--all") == ({"--all-tenants"}, "")
    assert shell("show", "vgg") == ({"vgg16/1", "vgg19/1"}, "")
    assert shell("pin", "b") == ({"bert/1"}, "")
    assert shell("pin", "--tenant", "d") == ({"default"}, "")
    assert shell("models", "-o", "w") == ({"wide"}, "")


def test_without_a_daemon_nothing_is_offered_and_nothing_is_said(shell, tmp_path):
    assert shell("show", "v", socket=tmp_path / "none") == (set(), "")


def test_a_name_cannot_run_a_command(shell, daemon, tmp_path, home):
    name = "m$(touch owned);`touch owned` x"
    tetris.publish(random_model(tmp_path / name), socket=daemon.socket)
    offered, said = shell("show", "m")
    assert said == ""
    assert len(offered) == 1
    assert not list(home.glob("owned*"))


def test_a_daemon_that_hangs_does_not_hold_the_prompt(daemon):
    words = ["complete", "--", "--socket", str(daemon.socket), "show", "v"]
    daemon.process.send_signal(signal.SIGSTOP)
    try:  # any other call would wait for a minute
        done = subprocess.run(
            [*PYTHON, "-m", "tetris.cli", *words], capture_output=True, timeout=30
        )
    finally:
        daemon.process.send_signal(signal.SIGCONT)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["gc", ""], []),
        (["keep", "m", ""], []),
        (["nonsense", ""], []),
        (["completion", ""], ["bash", "fish", "zsh"]),
        (["--json", "stat", "-A", "--js"], ["--json"]),
        (["quota", "nobody", ""], []),
        ([], None),
    ],
)
def test_what_can_stand_there_is_decided_from_the_table(capsys, words, offered):
    assert main(["complete", "--", *words]) == 0
    found = capsys.readouterr().out.splitlines()
    assert found == offered if offered is not None else "models" in found


@pytest.mark.parametrize("words", [["publish", "x"], ["run", ""], ["models", "--socket", ""]])
def test_where_a_file_can_stand_the_shell_is_told_so(capsys, words):
    assert main(["complete", "--", *words]) == 1
    assert capsys.readouterr() == ("", "")
