"""Read-only arrays leave through DLPack on every numpy, and keep their memory alive there."""

from __future__ import annotations

import gc
import os
import subprocess
import sys

import numpy as np
import pytest

from tetris import shm
from tetris.array import SharedArray

SHAPE = (4, 6)
NBYTES = 4 * 4 * 6


def shared_array(fd):
    """The float32 array 0..23 over a mapping of its own."""
    buffer = shm.map_segment(fd, "segment", NBYTES).buffer()
    return np.frombuffer(buffer, np.float32).reshape(SHAPE).view(SharedArray)


@pytest.fixture
def directory(memory):
    """A directory with that array as a sealed segment."""
    fd = os.open(memory, os.O_RDONLY)
    draft = shm.reserve(fd, ".draft", NBYTES)
    draft.buffer()[:] = np.arange(24, dtype=np.float32).tobytes()
    del draft
    assert shm.seal(fd, ".draft", "segment")
    yield fd
    os.close(fd)


@pytest.fixture
def shared(directory):
    """That array, the only one, in a list to take it from; and whether anybody maps its segment."""
    return [shared_array(directory)], lambda: shm.is_referenced(directory, "segment")


@pytest.mark.parametrize(
    "part",
    [
        np.s_[:],
        np.s_[1:, ::2],
        np.s_[::-1, ::-2],
        np.s_[2:, ::-1],
        np.s_[..., 3],
        np.s_[2, 3, ...],
        np.s_[4:],
        np.s_[:, :0],
        np.s_[:, None, 1],
    ],
    ids=str,
)
def test_a_view_is_exported_with_its_strides(shared, part):
    view = shared[0][0][part]
    assert type(view) is SharedArray
    back = np.from_dlpack(view)
    assert back.shape == view.shape
    assert back.tolist() == view.tolist()
    assert not (back.size and back.flags.writeable)


def test_a_broadcast_has_strides_of_zero(shared):
    wide = np.broadcast_to(shared[0][0][1], (3, 6), subok=True)
    back = np.from_dlpack(wide)
    assert back.strides == (0, 4)
    assert back.tolist() == wide.tolist()


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


@pytest.mark.parametrize("options", [{}, {"max_version": (0, 8)}, {"max_version": (1, 0)}], ids=str)
def test_an_unused_capsule_lets_go(shared, options):
    holder, referenced = shared
    capsule = holder[0].__dlpack__(**options)
    holder.clear()
    gc.collect()
    assert referenced()
    del capsule
    assert not referenced()


def test_a_consumer_of_versions_is_told_that_it_is_read_only(shared):
    array = shared[0][0]
    assert '"dltensor_versioned"' in repr(array.__dlpack__(max_version=(1, 1)))
    assert '"dltensor"' in repr(array.__dlpack__(max_version=None))
    assert '"dltensor"' in repr(array.__dlpack__())


@pytest.mark.parametrize(
    "dtype", ["int8", "uint16", "int32", "uint64", "float16", "float64", "complex64", "bool"]
)
def test_every_common_type_arrives(shared, dtype):
    array = shared[0][0].reshape(-1).view(dtype)
    back = np.from_dlpack(array)
    assert back.dtype == array.dtype
    assert back.tobytes() == array.tobytes()


@pytest.mark.parametrize("dtype", [">f4", "longdouble", "M8[s]", "S4", "V4"])
def test_a_type_dlpack_lacks_is_refused(shared, dtype):
    with pytest.raises(BufferError, match="no type"):
        shared[0][0].reshape(-1).view(dtype).__dlpack__()


def test_bfloat16_is_its_own_type_and_float8_is_none(shared):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    array = shared[0][0]
    assert array.view(ml_dtypes.bfloat16).__dlpack__() is not None
    with pytest.raises(BufferError, match="float8_e5m2"):
        array.view(ml_dtypes.float8_e5m2).__dlpack__()


def test_strides_between_elements_are_refused(shared):
    packed = shared[0][0].reshape(-1).view("u1").view([("a", "u1"), ("b", "<u2")])
    with pytest.raises(BufferError, match="strides of"):
        packed["b"].__dlpack__()


def test_memory_of_its_own_is_exported_by_numpy(shared):
    mine = shared[0][0].copy()
    assert type(mine) is SharedArray
    back = np.from_dlpack(mine)
    assert np.shares_memory(back, mine)


# What is alive at interpreter exit, and how: each of these once crashed the interpreter.
SURVIVORS = {
    "a consumer": "sys.kept = np.from_dlpack(array)",
    "a capsule": "sys.kept = array.__dlpack__()",
    "a versioned capsule": "sys.kept = array.__dlpack__(max_version=(1, 0))",
    "the array": "sys.kept = array",
    "a cache": "sys.kept = functools.lru_cache(lambda: np.from_dlpack(array)); sys.kept()",
    "a thread's": "sys.kept = threading.local(); sys.kept.array = np.from_dlpack(array)",
    "a cycle": "kept = [np.from_dlpack(array), array.__dlpack__()]; kept.append(kept)",
    "a daemon thread's": """
def keep(kept=[array.__dlpack__(), np.from_dlpack(array)]):
    ready.set()
    threading.Event().wait()
ready = threading.Event()
threading.Thread(target=keep, daemon=True).start()
ready.wait()
""",
}


@pytest.mark.parametrize("survivor", SURVIVORS)
def test_the_interpreter_exits_with_tensors_alive(directory, survivor):
    program = f"""
import functools, sys, threading
import numpy as np
from tetris import shm
from tetris.array import SharedArray
buffer = shm.map_segment({directory}, "segment", {NBYTES}).buffer()
array = np.frombuffer(buffer, np.float32).view(SharedArray)
{SURVIVORS[survivor]}
print("done", flush=True)
"""
    child = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", program],
        pass_fds=(directory,),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (child.returncode, child.stdout, child.stderr) == (0, "done\n", "")
    assert not shm.is_referenced(directory, "segment")


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
    assert isinstance(-array[0, :1].reshape(()), np.float32)
    assert type(np.matmul(array, array.T)) is np.ndarray
    assert type(array.sum(axis=0)) is np.ndarray


def test_another_device_is_refused(shared):
    array = shared[0][0]
    assert array.__dlpack_device__() == (1, 0)
    with pytest.raises(BufferError, match="host memory"):
        array.__dlpack__(dl_device=(2, 0))
