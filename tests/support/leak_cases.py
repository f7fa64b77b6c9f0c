"""Every entry point of the C library, called in the right ways and in the wrong ones.

``python -m support.leak_cases DIRECTORY`` makes each case many times over and prints what that left
behind. It is a process of its own, since in another's somebody else might allocate meanwhile.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from support.leaks import Growth, growth
from tetris import shm
from tetris.array import SharedArray
from tetris.shm import ffi, lib

# What needs a running TensorFlow, and the case of tensorflow_side.leaks that calls it.
IN_TENSORFLOW = {
    "tetris_tf_bind": "bind",
    "tetris_tf_set_string": "bind",
    "tetris_restore_switch": "off",
    "tetris_py_resolve": "restore",
    "tetris_py_restored": "restore",
    "tetris_py_read_stored": "restore",
}
# A kernel stays registered as long as the process lives, so this is called once in it.
ONCE = {"tetris_restore_register"}

SIZE = 3 * 4096
BYTES = bytes(range(256)) * (SIZE // 256)
NOWHERE = -1  # no descriptor
FINGERPRINT = bytes(range(32))

Case = Callable[["Place"], None]
CASES: list[Case] = []
COVERED: dict[str, set[str]] = {}


def calls(*entry_points: str) -> Callable[[Case], Case]:
    """Marks a case, by what it calls."""

    def mark(case: Case) -> Case:
        CASES.append(case)
        COVERED[case.__name__] = set(entry_points)
        return case

    return mark


class Place:
    """A directory on a tmpfs with the segment ``a``, a lease, a file and things that are none."""

    def __init__(self, path: Path) -> None:
        self.path = os.fsencode(path)
        self.dir = os.open(path, os.O_RDONLY)
        for name in ("a", "L.lease"):
            shm.reserve(self.dir, ".new", SIZE).buffer()[:] = BYTES
            shm.seal(self.dir, ".new", name)
        (path / "file").write_bytes(BYTES)
        (path / "link").symlink_to("a")
        (path / "d").mkdir()
        self.file = os.open(path / "file", os.O_RDONLY)
        self.out = ffi.new("void **")
        self.number = ffi.new("int *")
        self.digest = ffi.new("uint8_t[32]")
        self.crc = ffi.new("uint32_t *")
        self.buffer = ffi.new("char[]", SIZE)
        self.mapping = shm.map_segment(self.dir, "a", SIZE)
        self.array = np.frombuffer(self.mapping.buffer(), np.uint8).view(SharedArray)


def is_error(result: int, *errors: int) -> None:
    assert -result in errors, os.strerror(-result)


@calls("tetris_digest", "tetris_crc32c")
def checksums(place: Place) -> None:
    lib.tetris_digest(BYTES, SIZE, place.digest)
    assert lib.tetris_crc32c(0, BYTES, SIZE)


@calls("tetris_sum_new", "tetris_sum_update", "tetris_sum_copy", "tetris_sum_pread",
       "tetris_sum_skim", "tetris_sum_result", "tetris_sum_free")  # fmt: skip
def sums(place: Place) -> None:
    total = lib.tetris_sum_new()
    lib.tetris_sum_update(total, BYTES, SIZE)
    lib.tetris_sum_copy(total, place.buffer, BYTES, SIZE)
    assert lib.tetris_sum_pread(total, place.buffer, place.file, 0, SIZE) == 0
    is_error(lib.tetris_sum_pread(total, place.buffer, place.file, 1, SIZE), errno.ENODATA)
    assert lib.tetris_sum_skim(total, place.file, 0, SIZE) == 0
    is_error(lib.tetris_sum_skim(total, place.file, 1, SIZE), errno.ENODATA)
    is_error(lib.tetris_sum_skim(total, NOWHERE, 0, SIZE), errno.EBADF)
    lib.tetris_sum_result(total, place.digest, place.crc)
    lib.tetris_sum_free(total)


@calls("tetris_file_compare", "memcmp")
def comparison(place: Place) -> None:
    def compare(data: bytes, fd: int = place.file, n: int = SIZE) -> int:
        return lib.tetris_file_compare(data, fd, 0, n, place.number)

    assert compare(BYTES) == 0
    assert place.number[0] == 1
    assert compare(bytes(SIZE)) == 0
    assert place.number[0] == 0
    is_error(compare(BYTES + b"1", n=SIZE + 1), errno.ENODATA)
    is_error(compare(BYTES, NOWHERE), errno.EBADF)
    assert shm.same_memory(place.mapping, 0, BYTES)
    assert not shm.same_memory(place.mapping, 0, bytes(SIZE))


@calls("tetris_digest_path", "tetris_digest_select")
def digest_paths(place: Place) -> None:
    fastest = lib.tetris_digest_path(0)
    assert fastest != ffi.NULL
    assert lib.tetris_digest_select(fastest) == 0
    is_error(lib.tetris_digest_select(b"abacus"), errno.EINVAL)


@calls("tetris_segment_reserve", "tetris_populate", "tetris_segment_seal", "tetris_unmap")
def drafts(place: Place) -> None:
    assert lib.tetris_segment_reserve(place.dir, b".b", SIZE, place.out) == 0
    assert lib.tetris_populate(place.out[0], SIZE) == 0
    is_error(lib.tetris_segment_reserve(place.dir, b".b", SIZE, place.out), errno.EEXIST)
    assert lib.tetris_unmap(place.out[0], SIZE) == 0
    is_error(lib.tetris_unmap(ffi.cast("void *", 1), SIZE), errno.EINVAL)
    is_error(lib.tetris_segment_seal(place.dir, b".b", b"a"), errno.EEXIST)
    assert lib.tetris_segment_seal(place.dir, b".b", b"b") == 0
    is_error(lib.tetris_segment_seal(place.dir, b".b", b"b"), errno.ENOENT)
    os.unlink("b", dir_fd=place.dir)


@calls("tetris_segment_reserve", "tetris_populate")
def drafts_that_cannot_be(place: Place) -> None:
    reserve = lib.tetris_segment_reserve
    is_error(reserve(place.dir, b".b", 1 << 60, place.out), errno.ENOSPC, errno.EFBIG)
    is_error(reserve(NOWHERE, b".b", SIZE, place.out), errno.EBADF)
    is_error(lib.tetris_populate(ffi.cast("void *", place.mapping.address), SIZE), errno.EINVAL)


@calls("tetris_segment_map", "tetris_unmap")
def mappings(place: Place) -> None:
    def map_it(name: bytes, n: int = SIZE, mode: int = lib.TETRIS_MAP_SHARED) -> int:
        return lib.tetris_segment_map(place.dir, name, n, mode, place.out)

    for mode in (lib.TETRIS_MAP_SHARED, lib.TETRIS_MAP_PRIVATE):
        assert map_it(b"a", mode=mode) == 0
        assert lib.tetris_unmap(place.out[0], SIZE) == 0
    is_error(map_it(b"none"), errno.ENOENT)
    is_error(map_it(b"a", SIZE + 1), errno.EBADMSG)
    is_error(map_it(b"link"), errno.ELOOP)
    is_error(map_it(b"d"), errno.EBADMSG)


@calls("tetris_segment_probe", "tetris_segment_claim")
def removal(place: Place) -> None:
    for name, used in ((b"a", 1), (b"L.lease", 0)):
        assert lib.tetris_segment_probe(place.dir, name, place.number) == 0
        assert place.number[0] == used
    is_error(lib.tetris_segment_claim(place.dir, b"a", place.number), errno.EBUSY)
    assert lib.tetris_segment_claim(place.dir, b"L.lease", place.number) == 0
    os.close(place.number[0])
    for call in (lib.tetris_segment_probe, lib.tetris_segment_claim):
        is_error(call(place.dir, b"none", place.number), errno.ENOENT)


@calls("tetris_open_beneath")
def opening(place: Place) -> None:
    def open_it(path: bytes, flags: int = os.O_RDONLY) -> int:
        return lib.tetris_open_beneath(place.dir, path, flags, place.number)

    for path, flags in ((b"file", os.O_RDONLY), (b"d", os.O_RDONLY | os.O_DIRECTORY)):
        assert open_it(path, flags) == 0
        os.close(place.number[0])
    is_error(open_it(b"none"), errno.ENOENT)
    is_error(open_it(b"d"), errno.EINVAL)
    is_error(open_it(b"../x"), errno.EXDEV)


@calls("tetris_dlpack_export", "tetris_dlpack_name", "tetris_capsule_drop")
def dlpack(place: Place) -> None:
    for options in ({}, {"max_version": (1, 0)}):
        capsule = place.array.__dlpack__(**options)
        assert "dltensor" in repr(capsule)
        del capsule  # nobody took it
    assert np.from_dlpack(place.array)[1] == 1
    shape, strides = ffi.new("int64_t[]", [4]), ffi.new("int64_t[]", [1])
    fields = {"data": place.buffer, "ndim": 1, "shape": shape, "strides": strides, "bits": 8}
    private = ffi.new("struct tetris_dl_array *", fields)
    is_error(lib.tetris_dlpack_export(private, 0, place.out), errno.EINVAL)


@calls("tetris_table_new", "tetris_table_add", "tetris_table_publish", "tetris_table_find",
       "tetris_table_unref")  # fmt: skip
def tables(place: Place) -> None:
    table = _table(place, b"one", b"two")
    assert lib.tetris_table_publish(table, b"L.lease") == 0
    assert lib.tetris_table_find(FINGERPRINT) == table
    lib.tetris_table_unref(table)
    lib.tetris_table_unref(table)
    assert lib.tetris_table_find(FINGERPRINT) == ffi.NULL
    for names, lease, error in (
        ((b"one", b"one"), ffi.NULL, errno.EEXIST),
        ((b"one",), b"gone.lease", errno.ENOENT),
    ):
        table = _table(place, *names)
        is_error(lib.tetris_table_publish(table, lease), error)
        lib.tetris_table_unref(table)


def _table(place: Place, *names: bytes) -> Any:
    out = ffi.new("tetris_table **")
    assert lib.tetris_table_new(FINGERPRINT, place.path, out) == 0
    for name in names:
        assert lib.tetris_table_add(out[0], name, len(name), 1, [2, 3], 2, b"a", 24) == 0
    is_error(lib.tetris_table_add(out[0], b"n", 1, 1, [-1], 1, b"a", 24), errno.EINVAL)
    return out[0]


@calls("tetris_tf_bind", "tetris_restore_switch")
def without_tensorflow(place: Place) -> None:
    missing = ffi.cast("const char **", place.out)
    is_error(lib.tetris_tf_bind(b"/nowhere/libtensorflow_cc.so.2", missing), errno.ENOENT)
    lib.tetris_restore_switch(1)
    lib.tetris_restore_switch(0)


def outcome(case: Case, place: Place) -> Growth | str:
    """What it left behind, or why it could not go on: out of descriptors, for one."""
    try:
        return growth(lambda: case(place))
    except (AssertionError, OSError) as failed:
        return f"{type(failed).__name__}: {failed}"


if __name__ == "__main__":
    here = Place(Path(sys.argv[1]))
    json.dump({case.__name__: outcome(case, here) for case in CASES}, sys.stdout)
