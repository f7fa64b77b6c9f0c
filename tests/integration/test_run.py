"""``tetrisctl run``: an unchanged program, however it starts its Python, with sharing on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from integration.test_tensorflow_daemon import BUILD, PROGRAM, QUIET
from support.daemon import PYTHON, run_python

SHOW = """
import sys
print(__name__, sys.argv[1:], sys.path[0], "tetris.shm" in sys.modules)
print([type(finder).__module__ for finder in sys.meta_path][0])
sys.exit(int(sys.argv[-1]))
"""


def run(*arguments, **environment):
    return subprocess.run(
        [*PYTHON, "-m", "tetris.cli", "run", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, **environment},
    )


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "programs" / "show.py"
    path.parent.mkdir()
    path.write_text(SHOW)
    return path


def ways(program: Path) -> dict[str, list[object]]:
    """A command line for each way in which a program of Python's is started."""
    script = program.with_name("serve")
    script.write_text(f"#!{sys.executable}\n{SHOW}")
    script.chmod(0o755)
    shell = program.with_suffix(".sh")
    shell.write_text(f'exec "{sys.executable}" "{program}" "$@"\n')
    return {
        "script": [sys.executable, program],
        "module": [sys.executable, "-m", "show"],
        "console script": [script],
        "shell": ["sh", shell],
        "after dashes": ["--", sys.executable, program],
    }


@pytest.mark.parametrize("way", ["script", "module", "console script", "shell", "after dashes"])
def test_the_program_is_as_if_run_directly_and_watched(program, way, monkeypatch):
    monkeypatch.chdir(program.parent)
    words = ways(program)[way]
    ours = run(*words, "a", "--json", "-m", 7)
    stock = subprocess.run(
        [str(w) for w in words if w != "--"] + ["a", "--json", "-m", "7"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ours.returncode == stock.returncode == 7, ours.stderr
    assert ours.stdout.splitlines()[0] == stock.stdout.splitlines()[0]
    assert ours.stdout.splitlines()[1] == "tetris.hook"
    assert stock.stdout.splitlines()[1] != "tetris.hook"


def test_paths_are_what_they_were_and_a_hidden_sitecustomize_runs(program):
    hidden = program.with_name("sitecustomize.py")
    hidden.write_text("import sys; sys.hidden = __file__")
    code = "import sys, sitecustomize; print(sys.path, sys.hidden, sitecustomize.__file__)"
    path = {"PYTHONPATH": os.pathsep.join([str(hidden.parent), *sys.path])}
    ours = run(sys.executable, "-c", code, **path)
    assert ours.stdout == run_python(code, **path).stdout
    assert f"{hidden} {hidden}" in ours.stdout


def test_what_a_hidden_sitecustomize_raises_is_told_as_ever(program):
    program.with_name("sitecustomize.py").write_text("import no_such_module")
    path = {"PYTHONPATH": os.pathsep.join([str(program.parent), *sys.path])}
    ours = run(sys.executable, "-c", "print(1)", **path)
    assert ours.stdout == "1\n"
    assert "no_such_module" in ours.stderr
    # Twice: tetrisctl, a Python too, has met it before.
    assert ours.stderr == 2 * run_python("print(1)", **path).stderr


def test_a_python_without_tetris_runs_as_ever():
    """An isolated environment: nothing of ours can be imported there."""
    code = "import sys; print([m for m in sys.modules if m.startswith('tetris')])"
    ours = run("env", "-u", "VIRTUAL_ENV", sys.executable, "-S", "-c", f"import site; {code}")
    assert (ours.stdout, ours.stderr) == ("[]\n", "")
    bare = "import sys; sys.path = sys.path[:4]; import sitecustomize; " + code
    ours = run(sys.executable, "-S", "-c", bare)
    assert (ours.stdout, ours.stderr) == ("[]\n", "")


def test_a_child_of_the_program_is_watched_too():
    """A server starts its workers itself."""
    inner = "import sys; print(type(sys.meta_path[0]).__module__)"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}], check=True)"
    assert run(sys.executable, "-c", outer).stdout == "tetris.hook\n"


def test_the_socket_is_the_programs():
    shown = run("--socket=/run/some/where", "sh", "-c", "echo $TETRIS_SOCKET")
    assert shown.stdout == "/run/some/where\n"


def test_the_status_and_signals_are_the_programs():
    assert run("sh", "-c", "exit 37").returncode == 37
    assert run("sh", "-c", "kill -TERM $$").returncode == -signal.SIGTERM


def test_the_program_gets_the_signals_that_python_ignores():
    """A program whose reader has gone must end, and not go on with a failed write."""
    line = next(
        line
        for line in run("cat", "/proc/self/status").stdout.splitlines()
        if line.startswith("SigIgn")
    )
    assert int(line.split()[1], 16) & (1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1) == 0


@pytest.mark.parametrize(
    ("word", "status", "sentence"),
    [
        ("no-such-program", 127, "tetrisctl: no-such-program: no such program\n"),
        ("", 127, "tetrisctl: : no such program\n"),
        ("/etc/passwd", 126, "tetrisctl: /etc/passwd: Permission denied\n"),
    ],
)
def test_a_program_that_cannot_run_is_one_sentence_and_a_shells_status(word, status, sentence):
    failed = run(word, "a")
    assert (failed.returncode, failed.stdout, failed.stderr) == (status, "", sentence)


def test_no_program_is_wrong_usage():
    assert run().returncode == 2


def test_an_unchanged_tensorflow_program_shares(daemon, tmp_path):
    """Below a shell, as a service is started: the daemon has published what the program loads."""
    pytest.importorskip("tensorflow")
    model = tmp_path / "models" / "m" / "1"
    built = run_python(BUILD, str(model), "1", **QUIET)
    assert built.returncode == 0, built.stderr
    program = tmp_path / "serve.py"
    program.write_text(PROGRAM)
    shell = f'exec "{sys.executable}" "{program}" "$1"'
    done = run("sh", "-c", shell, "sh", model, TETRIS_SOCKET=str(daemon.socket), **QUIET)
    assert done.returncode == 0, done.stderr
    assert "published m/1" in daemon.log
    stock = run_python(PROGRAM, str(model), **QUIET)
    assert done.stdout == stock.stdout
