"""Target ``digest``: programs for the checksums in C. ``c/digest.c`` fuzzes and says their form.

This reading of the same programs goes through :mod:`tetris.shm` and asks the official ``blake3``
package, so the corpus is replayed without clang too.
"""

from __future__ import annotations

import os
import random
import tempfile
from functools import cache

import blake3

from tetris import shm

MAX_SIZE = 76  # 24 steps

_LIMIT = 272 << 10
_START = 4093  # of the data in its file
_UNITS = (256, 1024, 32 * 1024, 64)
_UPDATE, _COPY, _READ, _SKIM, _CUT, _COMPARE, _SEGMENT, _RESULT = range(8)
_PATH = _RESULT | 128


@cache
def _data(kind: int) -> tuple[bytes, int]:
    """The bytes that a program takes in, and a file with them."""
    made = bytes([255 * kind]) * _LIMIT if kind < 2 else random.Random(kind).randbytes(_LIMIT)
    fd = os.memfd_create("source")
    os.write(fd, bytes(_START) + made)
    return made, fd


@cache
def _memory() -> shm.Mapping:
    """Where what is copied and read goes."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        dirfd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            return shm.reserve(dirfd, ".segment", _LIMIT + 64)
        finally:
            os.close(dirfd)


def run(program: bytes) -> None:
    """Whatever the steps, the sums are those of the bytes."""
    head, steps = program[:4].ljust(4, b"\0"), program[4:76]
    paths = shm.digest_paths()
    shm.select_digest_path(paths[head[0] % len(paths)])
    total, done = shm.Sum(), 0
    for at in range(0, len(steps) - 2, 3):
        act, more, _ = steps[at : at + 3]
        if act & 7 == _RESULT and act & 128:
            shm.select_digest_path(paths[more % len(paths)])
        elif act & 7 <= _SKIM:
            n = min(_size(*steps[at : at + 3]), _LIMIT - done)
            _take(total, act & 3, _data(head[3] % 4), done, n, head[2] & 63)
            done += n
    whole = _data(head[3] % 4)[0][:done]
    digest, crc = total.result()
    assert digest == shm.digest(whole) == blake3.blake3(whole).digest()
    assert crc == shm.crc32c(whole)
    shm.select_digest_path(paths[0])


def _take(
    total: shm.Sum, act: int, source: tuple[bytes, int], done: int, n: int, shift: int
) -> None:
    data, fd = source
    part, memory = memoryview(data)[done : done + n], _memory()
    if act == _UPDATE:
        total.update(part)
    elif act == _COPY:
        total.copy(memory, shift, part)
    elif act == _READ:
        total.pread(memory, shift, fd, _START + done, n, "source")
    else:
        total.skim(fd, _START + done, n, "source")
    if act in (_COPY, _READ):
        assert memory.buffer()[shift : shift + n] == part


def _size(act: int, more: int, units: int) -> int:
    n = units % (9 if act & 8 else 40) * _UNITS[act >> 4 & 3]
    return n - more if act & 64 and n >= more else n + more


def seeds() -> dict[str, bytes]:
    """Every step, and every size at which something in csrc changes."""
    plain = bytes([0, 0, 0, 2])
    every = (_UPDATE, _COPY, _READ, _SKIM)
    paths = (_step(_UPDATE, 2 + n, n, 1) + _step(_PATH, 0, n) for n in range(4))
    return {
        "empty": b"",
        "chunk": plain + _step(_UPDATE, 1, 0, 1),
        "bytes": plain + b"".join(_step(a, 0, 62 + a) for a in every) + _step(_RESULT),
        "batches": plain + b"".join(_step(a, 1, a, 2) for a in every) + _step(_RESULT),
        "large": bytes([0, 3, 5, 3]) + _step(_READ, 5, 7, 2) + _step(_COPY, 3, 9, 2),
        "segment": plain + _step(_SEGMENT, 5, 1, 1) + _step(_SEGMENT, 2, 0, 2) + _step(_SEGMENT),
        "compare": plain + _step(_COMPARE, 5, 1, 1) + _step(_CUT, 5, 3, 1),
        "paths": plain + b"".join(paths),
        "portable": bytes([3, 0, 0, 1]) + _step(_UPDATE, 33, 1, 1) + _step(_COPY, 9, 0, 1),
    }


def _step(act: int, units: int = 0, more: int = 0, unit: int = 0) -> bytes:
    return bytes([act | unit << 4, more, units])
