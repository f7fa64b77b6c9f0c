"""What a hostile client may try on the daemon's process: it can neither reach nor hinder it."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from support.daemon import wait_until
from support.hostile import PLACES
from support.hostile import on_processes as attacks

NOT_THERE = "ESRCH"
REFUSED = {
    attacks.write_into_its_memory: ("EPERM", NOT_THERE, NOT_THERE),
    attacks.read_its_memory: ("EPERM", NOT_THERE, NOT_THERE),
    attacks.open_its_memory: ("EACCES", "ENOENT", "ENOENT"),
    attacks.trace_it: ("EPERM", NOT_THERE, NOT_THERE),
    attacks.seize_it: ("EPERM EIO", NOT_THERE, NOT_THERE),
    attacks.take_a_descriptor_of_it: ("EPERM", NOT_THERE, NOT_THERE),
    attacks.enter_its_root: ("EACCES", "ENOENT", "ENOENT"),
    attacks.list_its_descriptors: ("EACCES", "ENOENT", "ENOENT"),
    attacks.stop_it: ("EPERM", NOT_THERE, NOT_THERE),
    attacks.kill_it: ("EPERM", NOT_THERE, NOT_THERE),
    attacks.limit_its_files: ("EPERM", NOT_THERE, NOT_THERE),
    attacks.name_it_to_the_killer: ("EACCES", "ENOENT", "ENOENT"),
}


@pytest.mark.parametrize("attack", REFUSED, ids=lambda attack: attack.__name__)
def test_the_daemon_cannot_be_reached(target, place, attack):
    """Another user may not, and in a container of its own process namespace it does not exist."""
    pid = target.daemon.process.pid
    first = Path(f"/proc/{pid}/maps").read_text().split("-")[0]
    with target.unharmed():
        outcome = target.hostile.tries(place, attack, pid, int(first, 16))
        assert outcome in REFUSED[attack][PLACES.index(place)].split()


def test_descriptors_that_are_sent_to_it_are_not_kept(target):
    """A unix socket can carry them; a thousand would leave the daemon none of its own."""
    where = f"/proc/{target.daemon.process.pid}/fd"
    before = len(os.listdir(where))
    null = os.open("/dev/null", os.O_RDONLY)
    with target.unharmed(), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(target.daemon.socket))
        for message in (b"PRI * HTTP/2.0\r\n\r\n", b"SM\r\n\r\n", *[b"\0"] * 48):
            try:
                socket.send_fds(client, [message], [null] * 20)
            except BrokenPipeError:
                break
        target.works_for_others()
        assert len(os.listdir(where)) < before + 50
    os.close(null)
    wait_until(lambda: len(os.listdir(where)) <= before + 1, what="the end of the connection")
