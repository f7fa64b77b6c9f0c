"""Slices of partitioned variables, read just as they are stored.

TensorFlow refuses to cut some dtypes, float16 among them, but reads a slice that is stored as it is
asked for; and then it reads no more of the variable than that. Its C API cannot ask for one, since
the key of a stored slice holds a NUL. Its Python reader can.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from tetris.formats.slices import WHOLE, encode_key
from tetris.shm import ffi, lib


def read_stored(prefix: bytes, slices: Any, count: int) -> None:
    """Fill those of ``count`` C structs ``tetris_stored_slice`` that the checkpoint stores.

    A slice that cannot be read is left to the caller, who finds out why.
    """
    from tensorflow.compat.v1.train import NewCheckpointReader

    reader = NewCheckpointReader(os.fsdecode(prefix))
    for wanted in (slices[i] for i in range(count)):
        if wanted.data != ffi.NULL:
            wanted.filled = _fill(reader, wanted)


def _fill(reader: Any, wanted: Any) -> bool:
    name = ffi.unpack(wanted.name, wanted.name_size)
    keys = [encode_key(name, extents) for extents in _spellings(wanted)]
    key = next((key for key in keys if reader.has_tensor(key)), None)
    if key is None:
        return False
    try:
        value = np.ascontiguousarray(reader.get_tensor(key))
    except Exception:  # damage: reading the whole tensor gives the error
        return False
    if value.size != wanted.elements:
        return False
    if value.dtype == object:
        for index, text in enumerate(value.flat):
            lib.tetris_tf_set_string(wanted.data, index, text, len(text))
    elif value.nbytes == wanted.nbytes:
        ffi.memmove(wanted.data, ffi.cast("void *", value.ctypes.data), value.nbytes)
    else:
        return False
    return True


def _spellings(wanted: Any) -> list[list[tuple[int, int]]]:
    """The boxes that TensorFlow takes for this one.

    An axis taken whole can be written as that or in numbers. TensorFlow sees no difference in a box
    that starts at the origin; elsewhere it insists on what was stored.
    """
    axes = range(wanted.ndims)
    extents = [(wanted.start[axis], wanted.length[axis]) for axis in axes]
    if any(start for start, _ in extents):
        return [extents]
    shape = [wanted.shape[axis] for axis in axes]
    lengths = [length for _, length in extents]
    numbers = [n if n != WHOLE else size for n, size in zip(lengths, shape, strict=True)]
    dashes = [n if n != size else WHOLE for n, size in zip(numbers, shape, strict=True)]
    return [extents, [(0, n) for n in numbers], [(0, n) for n in dashes]]
