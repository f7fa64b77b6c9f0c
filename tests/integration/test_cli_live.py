"""``watch`` and ``top`` show what happens, and leave the terminal as it was."""

from __future__ import annotations

import json
import signal
import subprocess
from contextlib import contextmanager

import pytest

import tetris
from support.daemon import PYTHON, Daemon, wait_until
from support.models import random_model
from support.terminal import TETRISCTL, Terminal
from tetris.cli.main import main

INTERRUPTED = 130
ALTERNATE, ORDINARY = "\x1b[?1049h", "\x1b[?1049l"


@pytest.fixture
def daemon(memory, tmp_path):
    config = "\n".join(
        f'[tenants.{name}]\nsocket = "{tmp_path / name / "tetrisd.sock"}"'
        for name in ("red", "blue")
    )
    with Daemon(tmp_path, root=memory / "root", config=config) as running:
        running.socket = tmp_path / "red" / "tetrisd.sock"
        running.other = tmp_path / "blue" / "tetrisd.sock"
        yield running


@contextmanager
def watching(daemon, tmp_path, *flags):
    """``watch`` in the background; yields its lines, read when asked."""
    out = tmp_path / "watched"
    sockets = ("--socket", str(daemon.socket), "--admin-socket", str(daemon.admin_socket))
    with out.open("w") as file:
        process = subprocess.Popen([*PYTHON, *TETRISCTL, "watch", *sockets, *flags], stdout=file)
        try:
            yield process, lambda: out.read_text().splitlines()
        finally:
            process.kill()
            process.wait()


def attach(model, socket):
    with tetris.attach(model, socket=socket):
        pass


def attach_until(told, model, socket):
    """Attach until the watcher has begun: what happened before is not told."""

    def attached() -> bool:
        attach(model, socket=socket)
        return bool(told())

    wait_until(attached, what="the first event")


def test_watch_tells_a_line_for_each_event(daemon, tmp_path):
    model = random_model(tmp_path / "m")
    with watching(daemon, tmp_path) as (process, seen):
        # It may begin between an attach and its end: until both were told.
        for word in ("attached   m ", "ended      m "):
            attach_until(lambda word=word: word in " ".join(seen()), model, daemon.socket)
        assert max(map(len, seen())) <= 80
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == INTERRUPTED


def test_watch_gives_programs_one_json_value_a_line(daemon, tmp_path):
    model = random_model(tmp_path / "m")
    fingerprint = tetris.publish(model, socket=daemon.socket).fingerprint.hex()
    with watching(daemon, tmp_path, "--json") as (_, seen):
        attach_until(seen, model, daemon.socket)
        event = json.loads(seen()[0])
    assert event["kind"] in ("model_attached", "lease_ended")
    assert (event["tenant"], event["model"], event["fingerprint"]) == ("red", "m", fingerprint)


def test_a_tenant_does_not_hear_of_another_and_an_administrator_does(daemon, tmp_path):
    own, others = random_model(tmp_path / "own"), random_model(tmp_path / "others")
    with watching(daemon, tmp_path) as (_, seen):
        attach_until(seen, own, daemon.socket)
        attach(others, socket=daemon.other)
        count = len(seen())
        attach(own, socket=daemon.socket)
        wait_until(lambda: len(seen()) > count, what="another event")
        assert "others" not in "".join(seen())
    with watching(daemon, tmp_path, "-A") as (_, seen):
        attach_until(seen, others, daemon.other)
        assert "blue" in seen()[0]


def test_watch_ends_with_the_daemon(daemon, tmp_path):
    model = random_model(tmp_path / "m")
    with watching(daemon, tmp_path) as (process, seen):
        attach_until(seen, model, daemon.socket)
        daemon.stop()
        assert process.wait(20) in (0, 3)


def top(daemon, *words, **size):
    sockets = ("--socket", str(daemon.socket), "--admin-socket", str(daemon.admin_socket))
    return Terminal(*TETRISCTL, "top", "-d", "0.2", *words, *sockets, **size)


@pytest.mark.parametrize(("key", "status"), [("q", 0), ("\x03", INTERRUPTED)], ids=["q", "Ctrl-C"])
def test_top_leaves_the_terminal_as_it_was(daemon, tmp_path, key, status):
    model = random_model(tmp_path / "vgg16" / "1")
    with tetris.attach(model, socket=daemon.socket), top(daemon) as screen:
        screen.until("vgg16/1")
        assert screen.settings() != screen.before
        screen.press(key)
        assert screen.end() == status
        assert screen.settings() == screen.before
    shown = screen.shown
    assert shown.count(ALTERNATE) == shown.count(ORDINARY) == 1
    assert shown.rindex("\x1b[?25h") > shown.rindex("vgg16/1")
    assert "Traceback" not in shown


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_top_that_is_told_to_end_leaves_the_terminal_as_it_was(daemon, number):
    with top(daemon) as screen:
        screen.until("per second")
        screen.process.send_signal(number)
        assert screen.end() == 128 + number
        assert screen.settings() == screen.before
    assert screen.shown.endswith(ORDINARY)


def test_top_that_is_stopped_gives_the_terminal_back_and_takes_it_again(daemon):
    with top(daemon) as screen:
        screen.until("per second")
        screen.process.send_signal(signal.SIGTSTP)
        screen.until(ORDINARY)
        wait_until(lambda: screen.settings() == screen.before, what="the terminal as it was")
        screen.process.send_signal(signal.SIGCONT)
        screen.shown = ""
        screen.until(ALTERNATE)
        screen.until("per second")
        screen.press("q")
        assert screen.end() == 0


def test_top_fits_the_screen(daemon, tmp_path):
    for i in range(12):
        tetris.publish(random_model(tmp_path / f"m{i}", kib=1), socket=daemon.socket)
    with top(daemon, "-n", "1", lines=10, columns=60) as screen:
        assert screen.end() == 0
    lines = screen.shown.split("\x1b[H")[1].split("\r\n")
    assert len(lines) == 10
    # A line that is cleared after it was written to the last column loses what stands there.
    assert all(line.startswith("\x1b[2K") and "\x1b[K" not in line for line in lines)


def test_top_tells_of_a_daemon_that_is_gone_and_goes_on_when_it_is_back(daemon):
    with top(daemon) as screen:
        screen.until("tetrisd 0")
        daemon.kill()
        screen.until("no")
        screen.until("answer")
        daemon.start()
        screen.shown = ""
        screen.until("attaches")
        screen.press("q")
        assert screen.end() == 0


def test_top_counts_attaches(daemon, tmp_path, capsys):
    model = random_model(tmp_path / "m")
    words = ["top", "-n", "1000", "-d", "0.1", "-o", "json", "--socket", str(daemon.socket)]
    with subprocess.Popen([*PYTHON, *TETRISCTL, *words], stdout=subprocess.PIPE) as process:
        try:
            for line in process.stdout:
                attach(model, socket=daemon.socket)
                frame = json.loads(line)
                if frame["per_second"] and frame["per_second"]["attaches"] and frame["models"]:
                    break
        finally:
            process.kill()
    assert frame["models"][0]["attaches_per_second"] > 0
    assert frame["stat"]["models"] == 1


def test_top_in_a_pipe_is_one_look(daemon, tmp_path, capsys):
    tetris.publish(random_model(tmp_path / "m"), socket=daemon.other)
    assert main(["top", "-A", "--admin-socket", str(daemon.admin_socket)]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert out.splitlines()[-1].split()[:2] == ["blue", "m"]
