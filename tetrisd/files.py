"""Directories and small files of a root, opened and written so that a crash leaves no half."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import ExitStack, suppress

from tetris.errors import NotAllowedError
from tetris.shm import calling
from tetrisd import steps

# A digest or a fingerprint in hex.
HEX = re.compile(r"[0-9a-f]{64}")
# In every view, so that one mount brings a container both the segments and the daemon.
VIEW_SOCKET = "tetrisd.sock"


def directory(undo: ExitStack, parent: int, name: str, mode: int) -> int:
    """A descriptor of directory ``name``, made when it is missing, with ``mode``.

    Raises:
        NotAllowedError: it is something else, a link for one.
    """
    with suppress(FileExistsError):
        os.mkdir(name, mode, dir_fd=parent)
        steps.reached("start: directory made")
    try:
        fd = descriptor(undo, name, parent)
        os.fchmod(fd, mode)
    except OSError as failed:
        raise NotAllowedError(f"{name} in the root: {failed.strerror}") from None
    return fd


def descriptor(undo: ExitStack, name: str, parent: int | None = None) -> int:
    """A descriptor of a directory, closed with ``undo``."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, dir_fd=parent)
    undo.callback(os.close, fd)
    return fd


def write(
    dirfd: int, name: str, data: bytes, mode: int, *, times_ns: tuple[int, int] | None = None
) -> None:
    """Write ``name``, with ``times_ns`` of access and change, so that it is complete or not there.

    Raises:
        NoSpaceError: the tmpfs is full. Nothing is left.
    """
    draft = f".{name}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    with calling("write", name):
        fd = os.open(draft, flags, 0o600, dir_fd=dirfd)
        try:
            steps.reached("write: opened")
            with os.fdopen(fd, "wb") as out:
                out.write(data)
                os.fchmod(fd, mode)
                out.flush()
                if times_ns is not None:
                    os.utime(fd, ns=times_ns)
            steps.reached("write: written")
            os.rename(draft, name, src_dir_fd=dirfd, dst_dir_fd=dirfd)
        except BaseException:
            os.unlink(draft, dir_fd=dirfd)
            raise
        steps.reached("write: named")


def read(dirfd: int, name: str) -> bytes:
    """All of a small regular file, its access time untouched.

    Raises:
        OSError: there is none, or it is a link.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOATIME | os.O_NONBLOCK
    fd = os.open(name, flags, dir_fd=dirfd)
    with os.fdopen(fd, "rb") as file:
        return file.read()


def remove(dirfd: int, name: str) -> None:
    """Unlink ``name``, if it is there; a directory in its place is not ours, and stays."""
    with suppress(FileNotFoundError, IsADirectoryError):
        os.unlink(name, dir_fd=dirfd)


def sweep_drafts(dirfd: int) -> int:
    """Remove what a crash left half-written; how many."""
    drafts = [name for name in os.listdir(dirfd) if name.startswith(".")]
    for name in drafts:
        remove(dirfd, name)
    return len(drafts)


def entries(dirfd: int) -> Iterator[os.DirEntry[str]]:
    """What a directory holds, drafts left out."""
    with os.scandir(dirfd) as found:
        for entry in found:
            if not entry.name.startswith("."):
                yield entry


def regular(dirfd: int) -> Iterator[tuple[str, os.stat_result]]:
    """The regular files of a directory, drafts left out, and what ``lstat`` says of each."""
    for entry in entries(dirfd):
        with suppress(FileNotFoundError):
            found = entry.stat(follow_symlinks=False)
            if stat.S_ISREG(found.st_mode):
                yield entry.name, found
