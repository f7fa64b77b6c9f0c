"""A new version of a model costs what is new in it, and never more on the way there."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import tetris
from support.daemon import Daemon
from support.models import write_model
from support.tmpfs import can_mount, tmpfs

PAGE = os.sysconf("SC_PAGE_SIZE")
LARGE, HEAD = 8 << 20, 64 << 10


def write_version(directory: Path, large: bytes) -> Path:
    head = os.urandom(HEAD)
    return write_model(directory, {"head": ((HEAD // 4,), head), "large": ((LARGE // 4,), large)})


@contextmanager
def peak_of(directory: Path) -> Iterator[list[int]]:
    """The most bytes that its file system had in use meanwhile: the only item of the list."""
    peak, done = [0], threading.Event()

    def look() -> None:
        while True:
            fs = os.statvfs(directory)
            peak[0] = max(peak[0], (fs.f_blocks - fs.f_bfree) * fs.f_frsize)
            if done.wait(0.0002):
                return

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def files(root: Path) -> int:
    return len({path.stat().st_ino for path in root.rglob("*") if path.is_file()})


@pytest.mark.parametrize("how", ["path", "stream"])
def test_an_unchanged_tensor_takes_no_room_on_the_way(tmp_path: Path, how: str) -> None:
    """Version 1 is in use, and the large tensor of both would not fit a second time."""
    with tmpfs("size=12m") as small:
        if not can_mount():
            pytest.skip("needs leave to mount a small tmpfs")
        large = os.urandom(LARGE)
        v1, v2 = (write_version(tmp_path / name, large) for name in ("v1", "v2"))
        flags = [f"--model-root={tmp_path}"] if how == "path" else []
        with (
            Daemon(tmp_path, *flags, root=small / "root") as daemon,
            tetris.attach(v1, socket=daemon.socket) as used,
            peak_of(small) as peak,
            tetris.attach(v2, socket=daemon.socket) as new,
        ):
            assert new["large"].tobytes() == used["large"].tobytes() == large
            distinct = LARGE + 2 * HEAD
            assert distinct <= peak[0] <= distinct + PAGE * files(daemon.root)
