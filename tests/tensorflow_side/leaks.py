"""What the entry points that need TensorFlow leave behind.

``python -m tensorflow_side.leaks CASE DIR`` asserts that it is nothing. A restore that fails is not
among the cases: stock TensorFlow itself loses 640 bytes with each.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from errno import ENOENT, ENOSYS
from pathlib import Path
from typing import Any

import tensorflow as tf

import tetris.tensorflow
from support.leak_cases import is_error
from support.leaks import growth
from tensorflow_side.store import temporary_store
from tetris.shm import ffi, lib
from tetris.tensorflow._kernel import _loaded_library


def checkpoint(root: Path) -> str:
    """One tensor that is mapped, one of strings, and one that is stored in parts."""
    path = str(root / "leaks")
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        get = tf.compat.v1.get_variable
        get("whole", initializer=tf.random.normal([1000]))
        get("words", initializer=tf.constant(["x" * 100] * 3))
        cut = tf.compat.v1.fixed_size_partitioner(2)
        get("parts", [8], tf.float16, tf.compat.v1.ones_initializer(), partitioner=cut)
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.train.Saver().save(session, path, write_meta_graph=False)
    return path


def restored(path: str) -> list[Any]:
    """All three of them, which takes every hook."""
    return tf.raw_ops.RestoreV2(
        prefix=path,
        tensor_names=["whole", "words", "parts"],
        shape_and_slices=["", "", "8 0,4"],
        dtypes=[tf.float32, tf.string, tf.float16],
    )


def restore(path: str) -> Callable[[], object]:
    """tetris_py_resolve, tetris_py_restored, tetris_py_read_stored: the model stays attached."""
    kept = restored(path)
    return lambda: (restored(path), kept)


def attach(path: str) -> Callable[[], object]:
    """The same, the model attached anew each time."""
    return lambda: restored(path)


def off(path: str) -> Callable[[], object]:
    """tetris_restore_switch: all of it read, as stock TensorFlow does."""

    def read() -> None:
        lib.tetris_restore_switch(0)
        restored(path)
        lib.tetris_restore_switch(1)

    return read


def bind(path: str) -> Callable[[], object]:
    """tetris_tf_bind, tetris_tf_set_string."""
    missing = ffi.new("char **")
    string, long = ffi.new("char[]", 24), b"x" * 100  # one TF_TString, empty
    library = os.fsencode(_loaded_library())

    def call() -> None:
        why = ffi.cast("const char **", missing)
        assert lib.tetris_tf_bind(library, why) == 0
        is_error(lib.tetris_tf_bind(b"libm.so.6", why), ENOSYS)
        is_error(lib.tetris_tf_bind(b"/nowhere/libtensorflow_cc.so.2", why), ENOENT)
        lib.tetris_tf_set_string(string, 0, long, len(long))

    return call


# How often: two are variations of the first, and it takes TensorFlow a millisecond.
CASES = {
    "restore": (restore, 10_000),
    "bind": (bind, 10_000),
    "attach": (attach, 2_500),
    "off": (off, 2_500),
}


def main(case: str, root: Path) -> None:
    """Call and count."""
    with temporary_store() as store:
        assert tetris.tensorflow.enable(resolver=store.resolve)
        made, calls = CASES[case]
        grown = growth(made(checkpoint(root)), calls)
        assert grown[:2] == (0, 0), grown
        # 0 with the newest TensorFlow; what an older one keeps for itself is no byte a call.
        assert grown.nbytes < calls, grown


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
