"""System calls that Python has no function for, by way of the C library."""

from __future__ import annotations

import ctypes
import os

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_LONG = {"process_vm_writev", "process_vm_readv", "vmsplice", "syscall", "ptrace"}
for _name in _LONG:
    getattr(_libc, _name).restype = ctypes.c_long
_FAILED = ctypes.c_void_p(-1).value


def call(name: str, *arguments: object) -> int:
    """Call ``name``: whole numbers go as C longs, bytes and None as pointers.

    Raises:
        OSError: it refused.
    """
    ready = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = getattr(_libc, name)(*ready)
    if result in (-1, _FAILED):
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")
    return result or 0


def mmap(fd: int, nbytes: int, protection: int, flags: int) -> int:
    """Map a file from its start; the address."""
    return call("mmap", None, nbytes, protection, flags, fd, 0)


def read_memory(address: int, nbytes: int) -> bytes:
    """Bytes of this process."""
    return ctypes.string_at(address, nbytes)


def write_memory(address: int, data: bytes) -> None:
    """Write into this process, come what may."""
    ctypes.memmove(address, data, len(data))
