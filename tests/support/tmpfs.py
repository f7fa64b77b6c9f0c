"""A tmpfs of the test run's own, which cannot survive it.

As root the run enters a mount namespace of its own and mounts what it likes: all of it is gone with
its last process, also after a kill -9. Without the permission, directories under /dev/shm serve.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNS = 0x20000
_MS_NODEV, _MS_NOSUID, _MS_REC, _MS_PRIVATE = 0x4, 0x2, 0x4000, 0x40000

_entered = False


def can_mount() -> bool:
    """Whether this run has mounts of its own."""
    return _entered


def enter_namespace() -> None:
    """Give this process, while it has one thread, mounts of its own. Does nothing without leave."""
    global _entered
    if os.geteuid() == 0 and _libc.unshare(_CLONE_NEWNS) == 0:
        _entered = _libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None) == 0


@contextmanager
def tmpfs(options: str = "huge=within_size") -> Iterator[Path]:
    """A directory on a tmpfs with those mount options; without leave to mount, on the usual one."""
    if not can_mount():
        directory = Path(tempfile.mkdtemp(prefix="tetris-test-", dir="/dev/shm"))
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)
        return
    directory = Path(tempfile.mkdtemp(prefix="tetris-test-"))
    try:
        result = _libc.mount(
            b"tmpfs",
            os.fsencode(directory),
            b"tmpfs",
            _MS_NODEV | _MS_NOSUID,
            options.encode(),
        )
        if result:
            raise OSError(ctypes.get_errno(), f"mount tmpfs with {options}")
        yield directory
    finally:
        _libc.umount2(os.fsencode(directory), 2)  # MNT_DETACH: somebody may still map a file
        directory.rmdir()
