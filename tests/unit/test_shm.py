"""Names reach the kernel whole or not at all, and its refusals have a meaning."""

from __future__ import annotations

import errno
import os

import pytest

from tetris import shm
from tetris.errors import ConflictError, InvalidModelError, NoSpaceError, NotAllowedError


@pytest.fixture
def directory(memory):
    """A directory with the file ``a``."""
    (memory / "a").write_bytes(b"bytes")
    fd = os.open(memory, os.O_RDONLY)
    yield fd
    os.close(fd)


@pytest.mark.parametrize("name", ["a\0b", "a\0", "\ud800"], ids=ascii)
@pytest.mark.parametrize(
    "call",
    [
        lambda fd, name: shm.map_segment(fd, name, 5),
        lambda fd, name: shm.reserve(fd, name, 5),
        lambda fd, name: shm.seal(fd, name, "b"),
        lambda fd, name: shm.seal(fd, "a", name),
        shm.is_referenced,
        lambda fd, name: shm.claimed(fd, name).__enter__(),
        lambda fd, name: shm.open_beneath(fd, name, os.O_RDONLY),
    ],
    ids=["map", "reserve", "seal from", "seal to", "probe", "claim", "open"],
)
def test_what_cannot_be_a_file_name_is_refused(directory, call, name):
    with pytest.raises(InvalidModelError, match="cannot be a file name"):
        call(directory, name)
    assert os.listdir(directory) == ["a"]


def test_a_name_that_is_no_text_is_opened(directory):
    name = os.fsdecode(b"caf\xe9")
    os.rename("a", name, src_dir_fd=directory, dst_dir_fd=directory)
    fd = shm.open_beneath(directory, name, os.O_RDONLY)
    assert os.read(fd, 9) == b"bytes"
    os.close(fd)


@pytest.mark.parametrize(
    ("error", "kind", "meaning"),
    [
        (errno.EAGAIN, ConflictError, "another process is writing it"),
        (errno.ENOMEM, NoSpaceError, "vm.max_map_count"),
        (errno.ENAMETOOLONG, InvalidModelError, "longer than"),
        (errno.ELOOP, NotAllowedError, "circle"),
    ],
)
def test_a_refusal_says_what_it_means(error, kind, meaning):
    with pytest.raises(kind, match=f"open a: .*{meaning}"):
        shm.check(-error, "open", "a")
