"""The memory limit of the daemon's control group is a limit of the store: past it, it is killed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import tetris
from support.daemon import Daemon
from support.models import random_model
from tetris.errors import NoSpaceError

MIB = 1 << 20
TOP = Path("/sys/fs/cgroup")


@pytest.fixture
def group():
    """A control group with a limit of 256 MiB, in either version of the interface."""
    parent, limit = TOP / "memory", "memory.limit_in_bytes"
    if not parent.exists():
        parent, limit = TOP, "memory.max"
    made = parent / f"tetris-test-{os.getpid()}"
    try:
        made.mkdir()
        (made / limit).write_text(str(256 * MIB))
    except OSError as refused:
        if made.exists():
            made.rmdir()
        pytest.skip(f"needs leave to make a control group with a memory limit: {refused}")
    yield made
    made.rmdir()


def test_what_the_control_group_cannot_hold_is_refused(group, memory, tmp_path):
    fits = random_model(tmp_path / "fits", tensors=4, kib=8 * 1024)
    large = random_model(tmp_path / "large", tensors=4, kib=64 * 1024)
    flags = ["--headroom=32MiB", f"--model-root={tmp_path}", "--scrub-rate=0"]
    daemon = Daemon(tmp_path / "d", *flags, root=memory / "root")
    daemon.start()
    try:
        (group / "cgroup.procs").write_text(str(daemon.process.pid))
        tetris.publish(fits, socket=daemon.socket)
        with pytest.raises(NoSpaceError, match="the memory limit of the daemon's control group"):
            tetris.publish(large, socket=daemon.socket)
        assert daemon.process.poll() is None
        with tetris.attach(fits, socket=daemon.socket) as model:
            assert len(model) == 4
    finally:
        daemon.stop()
        # The group is charged for the segments until they are gone.
        for file in (memory / "root").rglob("*"):
            if file.is_file():
                file.unlink()
