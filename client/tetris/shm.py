"""The face of the compiled module: segments, references and checksums.

The only importer of ``tetris._native``. Every ``-errno`` becomes an exception that names the call.
Nothing here knows of models, manifests or the daemon, and numpy is not needed. The TensorFlow face
takes ``ffi``, ``lib`` and ``check`` from here.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tetris._native import ffi as ffi
from tetris._native import lib as lib
from tetris.errors import (
    ConflictError,
    InvalidModelError,
    NoSpaceError,
    NotAllowedError,
    NotFoundError,
    SystemCallError,
    TetrisError,
)

DIGEST_SIZE = 32
_SHARED, _PRIVATE = lib.TETRIS_MAP_SHARED, lib.TETRIS_MAP_PRIVATE

_MEANING: dict[int, tuple[type[TetrisError], str]] = {
    errno.ENOENT: (NotFoundError, "there is none, or it is being removed"),
    errno.ENAMETOOLONG: (NotFoundError, "no file can have so long a name"),
    errno.ENOSPC: (NoSpaceError, "the tmpfs is full"),
    errno.EDQUOT: (NoSpaceError, "the tmpfs quota is used up"),
    errno.ENOMEM: (NoSpaceError, "no memory, or more mappings than vm.max_map_count allows"),
    errno.EAGAIN: (ConflictError, "another process is writing it"),
    errno.EBUSY: (ConflictError, "it is in use"),
    errno.EEXIST: (ConflictError, "it exists already"),
    errno.EBADMSG: (InvalidModelError, "it is not a segment of the expected size"),
    errno.ENODATA: (InvalidModelError, "the file ends before the data does"),
    errno.EXDEV: (NotAllowedError, "it leads out of the allowed directory"),
    errno.EACCES: (NotAllowedError, "permission denied"),
    errno.EROFS: (NotAllowedError, "the file system is read-only"),
    errno.ENAMETOOLONG: (InvalidModelError, "the name is longer than a file system takes"),
    errno.ELOOP: (NotAllowedError, "its links go in a circle, or through /proc"),
}


def check(result: int, call: str, name: str) -> None:
    """Raise what ``-errno`` means for ``call`` on ``name``; anything from 0 up is fine."""
    if result < 0:
        if -result in _MEANING:
            kind, meaning = _MEANING[-result]
            raise kind(f"{call} {name}: {meaning}")
        raise SystemCallError(call, name, -result)


@contextmanager
def calling(call: str, name: str) -> Iterator[None]:
    """Raise what an ``OSError`` of ``call`` on ``name`` means, as :func:`check` does."""
    try:
        yield
    except OSError as failed:
        check(-(failed.errno or errno.EIO), call, name)


def _c_string(name: str) -> bytes:
    """``name`` as the kernel takes it; C would take a zero byte for its end.

    Raises:
        InvalidModelError: no file can have that name.
    """
    if name.isascii() and "\0" not in name:
        return name.encode()
    try:
        encoded = os.fsencode(name)
    except UnicodeEncodeError:
        raise InvalidModelError(f"{name!r} cannot be a file name") from None
    if b"\0" in encoded:
        raise InvalidModelError(f"{name!r} cannot be a file name: it has a zero byte")
    return encoded


class Mapping:
    """One mapping of one segment, and with it one reference.

    The reference lasts until the last buffer over it and the object itself are gone; there is no
    close, so memory that somebody still reads cannot be unmapped.
    """

    __slots__ = ("_memory", "nbytes", "writable")

    def __init__(self, address: Any, nbytes: int, writable: bool) -> None:
        self._memory = ffi.gc(address, lambda a: lib.tetris_unmap(a, nbytes))
        self.nbytes = nbytes
        self.writable = writable

    @property
    def address(self) -> int:
        """Where the first byte is."""
        return int(ffi.cast("uintptr_t", self._memory))

    def populate(self) -> None:
        """Make the pages of a writable mapping present; does nothing where the kernel cannot."""
        lib.tetris_populate(self._memory, self.nbytes)

    def buffer(self) -> memoryview:
        """The bytes; the view keeps the mapping alive. Read-only unless ``writable``."""
        view = memoryview(ffi.buffer(self._memory, self.nbytes))
        return view if self.writable else view.toreadonly()


def map_segment(dirfd: int, name: str, nbytes: int, *, writable: bool = False) -> Mapping:
    """Map segment ``name`` of directory ``dirfd`` and take a reference.

    Args:
        dirfd: descriptor of a directory.
        name: file name in it.
        nbytes: the size it must have, above 0.
        writable: map privately, copy-on-write, instead of shared and read-only.

    Raises:
        NotFoundError: gone, or being removed right now.
        InvalidModelError: not a segment of that size.
    """
    out = ffi.new("void **")
    mode = _PRIVATE if writable else _SHARED
    check(lib.tetris_segment_map(dirfd, _c_string(name), nbytes, mode, out), "map", name)
    return Mapping(out[0], nbytes, writable)


def reserve(dirfd: int, hidden: str, nbytes: int) -> Mapping:
    """Create ``hidden`` with ``nbytes`` > 0 bytes of real room, mapped writable.

    Raises:
        NoSpaceError: the tmpfs is full; nothing was left behind.
    """
    out = ffi.new("void **")
    check(lib.tetris_segment_reserve(dirfd, _c_string(hidden), nbytes, out), "reserve", hidden)
    return Mapping(out[0], nbytes, True)


def seal(dirfd: int, hidden: str, name: str) -> bool:
    """Make ``hidden`` read-only and visible as ``name``; False when ``name`` exists already."""
    result = lib.tetris_segment_seal(dirfd, _c_string(hidden), _c_string(name))
    if result == -errno.EEXIST:
        return False
    check(result, "seal", name)
    return True


def is_referenced(dirfd: int, name: str) -> bool:
    """Whether anybody maps segment ``name`` (or holds lock file ``name``) now.

    Raises:
        NotFoundError: there is none.
    """
    out = ffi.new("int *")
    check(lib.tetris_segment_probe(dirfd, _c_string(name), out), "probe", name)
    return bool(out[0])


@contextmanager
def claimed(dirfd: int, name: str) -> Iterator[None]:
    """Hold the write lock of ``name`` while its links are removed.

    Raises:
        ConflictError: somebody maps it.
        NotFoundError: there is none.
    """

    out = ffi.new("int *")
    check(lib.tetris_segment_claim(dirfd, _c_string(name), out), "claim", name)
    try:
        yield
    finally:
        os.close(out[0])


def open_beneath(dirfd: int, path: str, flags: int) -> int:
    """Open ``path`` below directory ``dirfd`` without following a link out of it.

    Raises:
        NotFoundError: there is none.
        NotAllowedError: it leads outside, may not be read, or the kernel cannot tell: before 5.6 it
            has no openat2, and a sandbox may take that away.
        InvalidModelError: it is not a regular file.
    """
    out = ffi.new("int *")
    result = lib.tetris_open_beneath(dirfd, _c_string(path), flags, out)
    if result == -errno.ENOSYS:
        raise NotAllowedError(f"{path} is not opened: there is no openat2 to keep links inside")
    if result == -errno.EINVAL:
        raise InvalidModelError(f"{path} is not a regular file")
    check(result, "open", path)
    return int(out[0])


def same_bytes(
    mapping: Mapping, offset: int, fd: int, position: int, nbytes: int, name: str
) -> bool:
    """Whether ``nbytes`` of ``fd`` at ``position`` are those of ``mapping`` at ``offset``.

    Raises:
        InvalidModelError: the file ends before, or they do not fit.
    """
    out = ffi.new("int *")
    target = _target(mapping, offset, nbytes)
    check(lib.tetris_file_compare(target, fd, position, nbytes, out), "read", name)
    return bool(out[0])


def same_memory(mapping: Mapping, offset: int, buffer: Any) -> bool:
    """Whether ``buffer`` has the bytes of ``mapping`` at ``offset``.

    Raises:
        InvalidModelError: it does not fit.
    """
    data = ffi.from_buffer(buffer)
    return bool(lib.memcmp(_target(mapping, offset, len(data)), data, len(data)) == 0)


def digest(buffer: Any) -> bytes:
    """BLAKE3-256 of a contiguous buffer: 32 bytes."""
    data = ffi.from_buffer(buffer)
    out = ffi.new("uint8_t[]", DIGEST_SIZE)
    lib.tetris_digest(data, len(data), out)
    return bytes(ffi.buffer(out))


def crc32c(buffer: Any, crc: int = 0) -> int:
    """CRC32C of a contiguous buffer, continued from ``crc``."""
    data = ffi.from_buffer(buffer)
    return int(lib.tetris_crc32c(crc, data, len(data)))


def digest_paths() -> tuple[str, ...]:
    """Names of the implementations of checksums that this CPU can run, fastest first."""
    names: list[str] = []
    while (name := lib.tetris_digest_path(len(names))) != ffi.NULL:
        names.append(ffi.string(name).decode())
    return tuple(names)


def select_digest_path(name: str) -> None:
    """Compute checksums with implementation ``name`` from now on, in the whole process.

    For tests and benchmarks; the fastest one is in use without it.

    Raises:
        SystemCallError: this CPU does not have it.
    """
    check(lib.tetris_digest_select(_c_string(name)), "select digest path", name)


class Sum:
    """A running BLAKE3-256 and CRC32C of one byte stream."""

    __slots__ = ("_sum",)

    def __init__(self) -> None:
        made = lib.tetris_sum_new()
        if made == ffi.NULL:
            raise MemoryError("no memory for a checksum")
        self._sum = ffi.gc(made, lib.tetris_sum_free)

    def update(self, buffer: Any) -> None:
        """Take the bytes of ``buffer`` in."""
        data = ffi.from_buffer(buffer)
        lib.tetris_sum_update(self._sum, data, len(data))

    def copy(self, mapping: Mapping, offset: int, buffer: Any) -> None:
        """Copy ``buffer`` to ``mapping`` at ``offset`` and take in what is there then.

        Raises:
            InvalidModelError: it does not fit.
        """
        data = ffi.from_buffer(buffer)
        target = _target(mapping, offset, len(data))
        lib.tetris_sum_copy(self._sum, target, data, len(data))

    def pread(
        self, mapping: Mapping, offset: int, fd: int, position: int, nbytes: int, name: str
    ) -> None:
        """Read ``nbytes`` of ``fd`` at ``position`` to ``mapping`` at ``offset``; take them in.

        Args:
            mapping: where to.
            offset: in ``mapping``.
            fd: where from.
            position: in the file.
            nbytes: how many.
            name: what to call it in messages.

        Raises:
            InvalidModelError: the file ends before, or they do not fit.
        """
        target = _target(mapping, offset, nbytes)
        check(lib.tetris_sum_pread(self._sum, target, fd, position, nbytes), "read", name)

    def skim(self, fd: int, position: int, nbytes: int, name: str) -> None:
        """Take in ``nbytes`` of ``fd`` at ``position`` and keep nothing.

        Raises:
            InvalidModelError: the file ends before.
        """
        check(lib.tetris_sum_skim(self._sum, fd, position, nbytes), "read", name)

    def result(self) -> tuple[bytes, int]:
        """Digest (32 bytes) and CRC32C of everything so far."""
        out = ffi.new("uint8_t[]", DIGEST_SIZE)
        crc = ffi.new("uint32_t *")
        lib.tetris_sum_result(self._sum, out, crc)
        return bytes(ffi.buffer(out)), int(crc[0])


def _target(mapping: Mapping, offset: int, nbytes: int) -> Any:
    if offset < 0 or nbytes < 0 or offset + nbytes > mapping.nbytes:
        raise InvalidModelError(f"{nbytes} bytes at {offset} do not fit into {mapping.nbytes}")
    return ffi.cast("char *", mapping.address) + offset
