"""Checksums of 512 MiB on one thread: the official package, ours, and ours fused with the copy."""

from __future__ import annotations

import os

import blake3
import pytest

from tetris import shm

NBYTES = 512 << 20


@pytest.fixture(scope="module")
def data() -> bytearray:
    return bytearray(os.urandom(1 << 20)) * (NBYTES >> 20)


def test_blake3_package(benchmark, data):
    benchmark.pedantic(lambda: blake3.blake3(data, max_threads=1).digest(), rounds=9)


def test_digest(benchmark, data):
    found = benchmark.pedantic(shm.digest, (data,), rounds=9)
    assert found == blake3.blake3(data).digest()


def test_fused_copy(benchmark, data, memory):
    """Copy + BLAKE3 + CRC32C into a reserved segment whose pages nobody has touched."""
    fd = os.open(memory, os.O_RDONLY)
    drafts = []

    def fresh():
        for name in drafts:
            os.unlink(name, dir_fd=fd)
        drafts[:] = [".fresh"]
        return (shm.Sum(), shm.reserve(fd, ".fresh", NBYTES)), {}

    def fill(total, segment):
        total.copy(segment, 0, data)
        return total.result()[0]

    found = benchmark.pedantic(fill, setup=fresh, rounds=9)
    assert found == blake3.blake3(data).digest()
    os.unlink(".fresh", dir_fd=fd)
    os.close(fd)
