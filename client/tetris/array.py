"""Read-only arrays over segments, with a DLPack export that numpy's own refuses.

numpy exports a read-only array only from 2.1 on and only to a consumer that names a DLPack version
with a read-only flag. Shared weights must reach every consumer, so :class:`SharedArray` exports
itself: the consumer gets a mapping of the same pages that is its own and that plain C lets go of,
at interpreter exit too. One that names no version must treat it as read-only all the same: the
memory is, and a write faults.
"""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Any

import numpy as np

from tetris.shm import ffi, lib

_CPU = 1  # kDLCPU
# DLDataTypeCode by numpy kind, for numpy's own types.
_KINDS = {"i": 0, "u": 1, "f": 2, "c": 5, "b": 6}
_BFLOAT = 4


def _address(pointer: Any) -> int:
    return int(ffi.cast("uintptr_t", pointer))


# A capsule keeps the address of its name and its destructor: both are C's and never go.
_new_capsule = ctypes.PYFUNCTYPE(
    ctypes.py_object, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p
)(("PyCapsule_New", ctypes.pythonapi))
_destructor = _address(ffi.addressof(lib, "tetris_capsule_drop"))


def _type_code(dtype: np.dtype[Any]) -> int:
    """DLPack's code of ``dtype``; ml_dtypes types may have a kind of numpy's, and differ."""
    if dtype.isbuiltin == 1 and dtype.kind in _KINDS and dtype.char not in "gG":  # long double
        return _KINDS[dtype.kind]
    if dtype.name == "bfloat16" and dtype.isnative:
        return _BFLOAT
    raise BufferError(f"DLPack has no type for {dtype}")


def _describe(array: np.ndarray) -> Any:
    """``array`` as C takes it, and what must live as long as that."""
    if any(n > 1 and s % array.itemsize for n, s in zip(array.shape, array.strides, strict=True)):
        raise BufferError(f"DLPack has no strides of {array.strides} bytes for {array.dtype}")
    shape = ffi.new("int64_t[]", array.shape)
    strides = ffi.new("int64_t[]", array.strides)
    fields = {
        "data": ffi.cast("void *", array.ctypes.data),
        "ndim": array.ndim,
        "shape": shape,
        "strides": strides,
        "code": _type_code(array.dtype),
        "bits": array.itemsize * 8,
    }
    return ffi.new("struct tetris_dl_array *", fields), (shape, strides)


class SharedArray(np.ndarray):
    """A read-only array over a segment; views of it are, too. Results of arithmetic are plain."""

    def __dlpack__(self, **options: Any) -> Any:
        """A DLPack capsule over the segment, whatever the numpy version.

        It is a versioned one with the read-only flag for a consumer that takes those. Writable
        arrays and copies are exported by numpy.

        Raises:
            BufferError: DLPack has no such dtype or strides, another device was asked for, or the
                process cannot map more.
        """
        if self.flags.writeable or options.get("copy"):
            return super().__dlpack__(**options)
        if options.get("dl_device") not in (None, (_CPU, 0)):
            raise BufferError(f"the weights are in host memory, not on {options['dl_device']}")
        described, _keep = _describe(self)
        versioned = (options.get("max_version") or (0, 0))[0] >= 1
        out = ffi.new("void **")
        result = lib.tetris_dlpack_export(described, versioned, out)
        if result == -errno.EINVAL:  # memory of its own, as that of a copy made read-only
            return super().__dlpack__(**options)
        if result < 0:
            raise BufferError(f"cannot map the segment once more: {os.strerror(-result)}")
        name = lib.tetris_dlpack_name(versioned)
        return _new_capsule(_address(out[0]), _address(name), _destructor)

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        """A plain array, or a scalar for no dimensions, which numpy 1 leaves to this method."""
        return array[()] if array.ndim == 0 else np.asarray(array)
