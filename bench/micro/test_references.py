"""One round is 1,000 distinct segments, each opened, locked, mapped, touched and unmapped."""

from __future__ import annotations

import os

import pytest

from tetris import shm

COUNT = 1000
NBYTES = 4096


@pytest.fixture(scope="module")
def segments(memory):
    fd = os.open(memory, os.O_RDONLY)
    names = []
    for _ in range(COUNT):
        body = os.urandom(NBYTES)
        draft = shm.reserve(fd, ".draft", NBYTES)
        draft.buffer()[:] = body
        del draft
        names.append(shm.digest(body).hex())
        shm.seal(fd, ".draft", names[-1])
    yield fd, names
    for name in names:
        os.unlink(name, dir_fd=fd)
    os.close(fd)


def test_thousand_references(benchmark, segments):
    fd, names = segments

    def use() -> int:
        return sum(shm.map_segment(fd, name, NBYTES).buffer()[0] for name in names)

    assert benchmark.pedantic(use, rounds=50, warmup_rounds=3) > 0
