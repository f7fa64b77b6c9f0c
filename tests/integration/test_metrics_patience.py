"""Whoever scrapes and stands still holds up nobody for ever, and the daemon not at all."""

from __future__ import annotations

import http.client
import os
import socket
import time
from contextlib import suppress

import pytest

from support.daemon import Daemon, wait_until
from support.scraping import Scraped


@pytest.fixture
def where(tmp_path):
    return str(tmp_path / "metrics" / "s")


@pytest.fixture
def daemon(memory, tmp_path, where):
    with Daemon(tmp_path, f"--metrics={where}", root=memory / "root") as running:
        yield running


def threads_of(daemon):
    return len(os.listdir(f"/proc/{daemon.process.pid}/task"))


def descriptors_of(daemon):
    return len(os.listdir(f"/proc/{daemon.process.pid}/fd"))


@pytest.mark.parametrize("first", [b"", b"GET /metrics HTTP/1.0\r\n"])
def test_a_thousand_who_stand_still_keep_few_threads_and_nobody_out_for_ever(daemon, where, first):
    Scraped(where)
    threads, descriptors = threads_of(daemon), descriptors_of(daemon)
    standing = []
    try:
        for _ in range(1000):
            client = socket.socket(socket.AF_UNIX)
            standing.append(client)
            client.connect(where)
            if first:
                _send(client, first)
        assert threads_of(daemon) <= threads + 5
        wait_until(lambda: answers(where), 60, what="a scrape")
    finally:
        for client in standing:
            client.close()
    wait_until(lambda: descriptors_of(daemon) <= descriptors, what="the end of connections")


def test_one_who_sends_a_byte_now_and_then_is_sent_away_all_the_same(daemon, where):
    standing = [socket.socket(socket.AF_UNIX) for _ in range(4)]
    for client in standing:
        client.connect(where)
        client.setblocking(False)
    deadline = time.monotonic() + 60
    while not answers(where):
        assert time.monotonic() < deadline
        for client in standing:
            _send(client, b"G")
        time.sleep(0.2)
    for client in standing:
        client.close()


def test_one_who_takes_no_answer_is_sent_away(daemon, where):
    standing = [socket.socket(socket.AF_UNIX) for _ in range(4)]
    for client in standing:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        client.connect(where)
        client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
    wait_until(lambda: answers(where), 60, what="a scrape")
    for client in standing:
        client.close()


def test_a_stop_does_not_wait_for_who_stands_still(daemon, where):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(where)
        client.sendall(b"GET")
        assert daemon.stop() == 0
    assert "Traceback" not in daemon.log


def _send(client, data):
    with suppress(OSError):  # it was sent away
        client.sendall(data)


def answers(where):
    try:
        return Scraped(where)("tetris_models") == 0
    except (OSError, ValueError, http.client.HTTPException):
        return False
