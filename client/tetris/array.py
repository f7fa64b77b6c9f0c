"""Read-only arrays over segments, with a DLPack export that numpy's own refuses.

numpy exports a read-only array only from 2.1 on and only to a consumer that names a DLPack version
with a read-only flag. Shared weights must reach every consumer, so :class:`SharedArray` writes the
(unversioned) capsule itself. The consumer must treat it as read-only: the memory is, and a write
faults.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

_CPU = 1  # kDLCPU
# DLDataTypeCode by numpy kind; ml_dtypes types have kind V and are told by name.
_KINDS = {"i": 0, "u": 1, "f": 2, "c": 5, "b": 6}
_BFLOAT = 4


class _DataType(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16))


class _Device(ctypes.Structure):
    _fields_ = (("kind", ctypes.c_int32), ("id", ctypes.c_int32))


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", _Device),
        ("ndim", ctypes.c_int32),
        ("dtype", _DataType),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class _Managed(ctypes.Structure):
    pass


_Deleter = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Managed))
_Managed._fields_ = (("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", _Deleter))
_Destructor = ctypes.CFUNCTYPE(None, ctypes.c_void_p)

_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype = ctypes.py_object
_new_capsule.argtypes = (ctypes.c_void_p, ctypes.c_char_p, _Destructor)
_is_capsule = ctypes.pythonapi.PyCapsule_IsValid
_is_capsule.argtypes = (ctypes.c_void_p, ctypes.c_char_p)
_capsule_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_capsule_pointer.restype = ctypes.c_void_p
_capsule_pointer.argtypes = (ctypes.c_void_p, ctypes.c_char_p)

_NAME = b"dltensor"
# What an exported tensor needs until its consumer calls the deleter, by address of the structure.
_exported: dict[int, tuple[Any, ...]] = {}


def _delete(managed: Any) -> None:
    _exported.pop(ctypes.addressof(managed.contents), None)


def _drop_capsule(capsule: int) -> None:
    """A consumer renames the capsule it takes; one that is still ours was never consumed."""
    if _is_capsule(capsule, _NAME):
        _exported.pop(_capsule_pointer(capsule, _NAME), None)


_deleter = _Deleter(_delete)
_destructor = _Destructor(_drop_capsule)


def _data_type(dtype: np.dtype[Any]) -> _DataType:
    if dtype.kind in _KINDS:
        return _DataType(_KINDS[dtype.kind], dtype.itemsize * 8, 1)
    if dtype.name == "bfloat16":
        return _DataType(_BFLOAT, 16, 1)
    raise BufferError(f"DLPack has no type for {dtype.name}")


def _export(array: np.ndarray) -> Any:
    shape = (ctypes.c_int64 * array.ndim)(*array.shape)
    strides = (ctypes.c_int64 * array.ndim)(*(s // array.itemsize for s in array.strides))
    managed = _Managed()
    managed.tensor = _Tensor(
        data=array.ctypes.data,
        device=_Device(_CPU, 0),
        ndim=array.ndim,
        dtype=_data_type(array.dtype),
        shape=shape,
        strides=strides,
        byte_offset=0,
    )
    managed.deleter = _deleter
    address = ctypes.addressof(managed)
    _exported[address] = (array, managed, shape, strides)
    return _new_capsule(address, _NAME, _destructor)


class SharedArray(np.ndarray):
    """A read-only array over a segment; views of it are, too. Results of arithmetic are plain."""

    def __dlpack__(self, **options: Any) -> Any:
        """A DLPack capsule over the segment, whatever the numpy version.

        Raises:
            BufferError: DLPack has no such dtype, or a copy or another device was asked for.
        """
        if self.flags.writeable or options.get("copy"):
            return super().__dlpack__(**options)
        if options.get("dl_device") not in (None, (_CPU, 0)):
            raise BufferError(f"the weights are in host memory, not on {options['dl_device']}")
        return _export(self)

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        return array[()] if return_scalar else np.asarray(array)
