"""Read-only arrays leave through DLPack on every numpy, and keep their memory alive there."""

from __future__ import annotations

import gc
import os

import numpy as np
import pytest

from tetris import shm
from tetris.array import SharedArray, _exported


@pytest.fixture
def shared(memory):
    """A float32 array 0..23 over a sealed segment, and whether anybody maps that."""
    fd = os.open(memory, os.O_RDONLY)
    data = np.arange(24, dtype=np.float32)
    draft = shm.reserve(fd, ".draft", data.nbytes)
    draft.buffer()[:] = data.tobytes()
    del draft
    assert shm.seal(fd, ".draft", "segment")
    mapping = shm.map_segment(fd, "segment", data.nbytes)
    array = np.frombuffer(mapping.buffer(), np.float32).reshape(4, 6).view(SharedArray)
    del mapping
    holder = [array]
    del array
    yield holder, lambda: shm.is_referenced(fd, "segment")
    os.close(fd)


def test_a_view_of_a_view_is_exported_with_its_strides(shared):
    array = shared[0][0]
    part = array[1:, ::2]
    back = np.from_dlpack(part)
    assert back.tolist() == part.tolist()
    assert back.ctypes.data == part.ctypes.data


def test_the_consumer_keeps_the_memory(shared):
    holder, referenced = shared
    back = np.from_dlpack(holder[0])
    holder.clear()
    gc.collect()
    assert back.sum() == 276
    assert referenced()
    del back
    gc.collect()
    assert not referenced()
    assert not _exported


def test_an_unused_capsule_lets_go(shared):
    array = shared[0][0]
    capsule = array.__dlpack__()
    assert len(_exported) == 1
    del capsule
    assert not _exported


def test_it_cannot_be_made_writable(shared):
    array = shared[0][0]
    with pytest.raises(ValueError, match=r"(?i)writ"):
        array.flags.writeable = True
    with pytest.raises(ValueError, match="read-only"):
        array[0, 0] = 1


def test_arithmetic_gives_plain_arrays_and_scalars(shared):
    array = shared[0][0]
    assert type(array + 1) is np.ndarray
    assert isinstance(array.sum(), np.float32)
    assert type(np.matmul(array, array.T)) is np.ndarray


def test_another_device_is_refused(shared):
    array = shared[0][0]
    with pytest.raises(BufferError, match="host memory"):
        array.__dlpack__(dl_device=(2, 0))
