"""What systemd is told of a service with Type=notify, through a real socket."""

from __future__ import annotations

import os
import signal
import socket

import pytest

from support.daemon import Daemon, wait_until
from tetris.errors import TetrisError
from tetris.v1 import admin_pb2

# Hangs with a lock when a file appears: as a thread would that never comes back from the kernel.
HANGS = """
import pathlib, sys, threading, time
import tetrisd.main
from tetrisd.store import Store

sign, lock, flags = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
recover = Store.recover

def hang(store):
    while not sign.exists():
        time.sleep(0.02)
    eval(lock, {"store": store}).acquire()
    sign.with_suffix(".done").touch()
    time.sleep(600)

def recovered(store):
    recover(store)
    threading.Thread(target=hang, args=(store,), daemon=True).start()

Store.recover = recovered
sys.exit(tetrisd.main.main(flags))
"""
LOCKS = {
    "an admission": "store._admission._deciding",
    "an attach": "store.tenant('default')._lifetime",
    "a reload": "store._configuring",
    "a lease": "store.tenant('default').leases._mutex",
    "a quarantine": "store._pools['_shared'].whole",
}


class Manager:
    """The end that a service manager holds."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.settimeout(20)

    def next(self) -> dict[str, str]:
        """The next message."""
        return dict(line.split("=", 1) for line in self._socket.recv(4096).decode().split("\n"))

    def next_but_life(self) -> dict[str, str]:
        """The next message that is no sign of life."""
        while (found := self.next()) == {"WATCHDOG": "1"}:
            pass
        return found

    def signs_of_life(self, seconds: float) -> int:
        """How many come until there is none for so long."""
        self._socket.settimeout(seconds)
        number = 0
        try:
            while self.next() == {"WATCHDOG": "1"}:
                number += 1
        except TimeoutError:
            return number
        raise AssertionError("something else was said")

    def close(self) -> None:
        """Hear no more."""
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path, monkeypatch):
    address = str(tmp_path / "notify") if request.param == "path" else f"@tetris-{os.getpid()}"
    made = Manager(address)
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    yield made
    made.close()


@pytest.fixture
def daemon(memory, tmp_path):
    config = f'[tenants.red]\nsocket = "{tmp_path / "red" / "s"}"\n'
    return Daemon(tmp_path / "d", root=memory / "root", config=config)


def test_a_life_is_told_from_its_begin_to_its_end(manager, daemon, tmp_path):
    with daemon:
        ready = manager.next()
        assert ready["READY"] == "1"
        assert ready["STATUS"].startswith("serving red; huge pages are")
        assert [manager.next() for _ in range(2)] == [{"WATCHDOG": "1"}] * 2
        daemon.process.send_signal(signal.SIGHUP)
        reloading = manager.next_but_life()
        assert reloading["RELOADING"] == "1"
        assert int(reloading["MONOTONIC_USEC"]) > 0
        assert manager.next_but_life()["READY"] == "1"
    assert manager.next_but_life() == {"STOPPING": "1"}


def test_a_reload_that_is_refused_is_over_too(manager, daemon, tmp_path):
    """Or systemd waits for its end, and then kills the service."""
    with daemon:
        manager.next()
        (tmp_path / "d" / "tetrisd.toml").write_text("a = = b")
        with pytest.raises(TetrisError):
            daemon.admin("Reload", admin_pb2.ReloadRequest())
        assert manager.next_but_life()["RELOADING"] == "1"
        assert manager.next_but_life()["READY"] == "1"


@pytest.mark.parametrize("lock", LOCKS.values(), ids=LOCKS)
def test_one_that_hangs_says_no_more_that_it_lives(memory, tmp_path, monkeypatch, lock):
    manager = Manager(str(tmp_path / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    sign = tmp_path / "hang"
    daemon = Daemon(tmp_path / "d", root=memory / "root")
    daemon.program = ("-c", HANGS, str(sign), lock)
    daemon.start()
    try:
        assert manager.next()["READY"] == "1"
        assert manager.next() == {"WATCHDOG": "1"}
        sign.touch()
        wait_until(sign.with_suffix(".done").exists, what="the hang")
        assert manager.signs_of_life(3) <= 1
    finally:
        daemon.kill()
        manager.close()


def test_a_manager_that_is_gone_does_no_harm(daemon, tmp_path, monkeypatch):
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    with daemon:
        assert daemon.stop() == 0
    assert "Traceback" not in daemon.log
