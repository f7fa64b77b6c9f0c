"""Programs that restore with sharing on: ``python -m tensorflow_side.scenarios NAME DIR``.

``models`` writes into DIR what the others load. Each of those asserts what it is about.
"""

from __future__ import annotations

import gc
import logging
import os
import resource
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

import tetris.tensorflow
from tensorflow_side.store import Store, temporary_store

MIB = 1 << 20


class Model(tf.Module):
    """Weights of several dtypes, some equal, one used as a table of strings."""

    def __init__(self) -> None:
        rng = np.random.default_rng(7)
        self.kernel = tf.Variable(rng.normal(size=(300, 200)).astype("float32"), name="kernel")
        self.same = tf.Variable(self.kernel.read_value(), name="same")
        self.half = tf.Variable(tf.cast(rng.normal(size=(200, 10)), tf.bfloat16), name="half")
        self.steps = tf.Variable(41, dtype=tf.int64, name="steps")
        self.none = tf.Variable(tf.zeros([0, 4]), name="none")
        self.mask = tf.Variable(rng.normal(size=300) > 0, name="mask")
        self.words = tf.Variable(["one", "two"], name="words")
        self.table = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1)

    @tf.function(input_signature=[tf.TensorSpec([None, 300], tf.float32)])
    def serve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        """Uses every weight."""
        y = tf.matmul(x * tf.cast(self.mask, tf.float32), self.kernel + self.same)
        z = tf.matmul(tf.cast(y, tf.bfloat16), self.half)
        return {"y": y, "z": z, "steps": self.steps + 1, "words": self.words.read_value(),
                "found": self.table.lookup(tf.constant(["k", "?"]))}  # fmt: skip


INPUT = np.random.default_rng(1).normal(size=(3, 300)).astype("float32")


def models(root: Path) -> None:
    """Write a SavedModel, an object checkpoint, a TF1 checkpoint and what they give."""
    model = Model()
    model.table.insert(tf.constant(["k"]), tf.constant([5], tf.int64))
    outputs = model.serve(INPUT)
    tf.saved_model.save(model, str(root / "saved"), signatures=model.serve)
    np.savez(root / "expected.npz", **{k: _plain(v) for k, v in outputs.items()})
    tf.train.Checkpoint(model=model).write(str(root / "objects"))
    big = {f"v{i}": tf.Variable(np.random.default_rng(i).normal(size=(5, MIB // 2)).astype("f4"))
           for i in range(10)}  # fmt: skip
    tf.train.Checkpoint(**big).write(str(root / "big"))  # 100 MiB
    module = tf.Module()
    for name, variable in big.items():
        setattr(module, name, variable)
    tf.saved_model.save(module, str(root / "big-saved"))
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        parts = _tf1_variables()
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.train.Saver().save(session, str(root / "tf1"), write_meta_graph=False)
        np.savez(root / "tf1.npz", *session.run(parts))


def _tf1_variables() -> list[Any]:
    get = tf.compat.v1.get_variable
    init = tf.compat.v1.random_normal_initializer(seed=3)
    ref = get("ref", [64, 32], initializer=init, use_resource=False)
    resource = get("resource", [64, 32], initializer=init, use_resource=True)
    cut = tf.compat.v1.fixed_size_partitioner(3)
    parts = get("parts", [48, 16], initializer=init, partitioner=cut, use_resource=True)
    columns = tf.compat.v1.fixed_size_partitioner(2, axis=1)
    across = get("across", [8, 6], initializer=init, partitioner=columns, use_resource=True)
    return [ref, resource, *parts, *across]


def _plain(tensor: tf.Tensor) -> Any:
    return tf.bitcast(tensor, tf.uint16).numpy() if tensor.dtype == tf.bfloat16 else tensor.numpy()


@contextmanager
def sharing() -> Iterator[Store]:
    """A store with sharing on, and the promise that nothing of it was written to."""
    with temporary_store() as store:
        assert tetris.tensorflow.enable(resolver=store.resolve)
        yield store
        assert store.intact()


def _check(root: Path, outputs: dict[str, Any]) -> None:
    expected = np.load(root / "expected.npz", allow_pickle=True)
    assert set(expected) == set(outputs)
    for name, value in outputs.items():
        np.testing.assert_array_equal(_plain(value), expected[name], name)


def saved_model(root: Path) -> None:
    """tf.saved_model.load shares every tensor that has a segment."""
    with sharing() as store:
        loaded = tf.saved_model.load(str(root / "saved"))
        _check(root, loaded.signatures["serving_default"](x=tf.constant(INPUT)))
        (model,) = tetris.tensorflow.report().models
        assert model.tensors >= 6, model
        assert model.nbytes > 2 * 300 * 200 * 4
        assert len(store.referenced()) >= 4  # equal ones are one segment
        assert tetris.tensorflow.report().fallbacks == {}
        again = tf.saved_model.load(str(root / "saved"))
        _check(root, again.signatures["serving_default"](x=tf.constant(INPUT)))
        assert store.attached == 1


def keras_layer(root: Path) -> None:
    """keras.layers.TFSMLayer shares."""
    import keras

    with sharing():
        layer = keras.layers.TFSMLayer(str(root / "saved"), call_endpoint="serving_default")
        _check(root, layer(tf.constant(INPUT)))
        assert tetris.tensorflow.report().models[0].tensors >= 6


def checkpoint(root: Path) -> None:
    """tf.train.Checkpoint.restore shares, at once and for variables that are made later."""
    with sharing() as store:
        model = Model()
        tf.train.Checkpoint(model=model).read(str(root / "objects")).assert_consumed()
        _check(root, model.serve(INPUT))
        holder = tf.Module()
        status = tf.train.Checkpoint(model=holder).read(str(root / "objects"))
        later = Model()
        for name in ("kernel", "same", "half", "steps", "none", "mask", "words", "table"):
            setattr(holder, name, getattr(later, name))  # one restore op for each
        status.assert_consumed()
        _check(root, later.serve(INPUT))
        (counts,) = tetris.tensorflow.report().models
        assert counts.restores > 6
        assert store.attached == 1


def session(root: Path) -> None:
    """A TF1 saver shares in a session, slices of partitioned variables too."""
    with sharing(), tf.Graph().as_default(), tf.compat.v1.Session() as run:
        variables = _tf1_variables()
        saver = tf.compat.v1.train.Saver()
        for _ in range(2):
            saver.restore(run, str(root / "tf1"))
            for got, want in zip(
                run.run(variables), np.load(root / "tf1.npz").values(), strict=True
            ):
                np.testing.assert_array_equal(got, want)
            run.run([variables[0].assign_add(variables[0]), variables[1].assign(variables[1] * 2)])
        (model,) = tetris.tensorflow.report().models
        assert model.tensors == 2 * (2 + 3)
        assert model.copied == 2 * 2  # columns lie in many pieces


def graph_function(root: Path) -> None:
    """A restore inside a tf.function shares."""
    with sharing() as store:

        @tf.function
        def restore() -> list[tf.Tensor]:
            names = ["v1/.ATTRIBUTES/VARIABLE_VALUE", "v2/.ATTRIBUTES/VARIABLE_VALUE"]
            dtypes = [tf.float32] * 2
            return tf.raw_ops.RestoreV2(prefix=str(root / "big"), tensor_names=names,
                                        shape_and_slices=["", ""], dtypes=dtypes)  # fmt: skip

        one, two = restore()
        np.testing.assert_array_equal(one, _big(1))
        np.testing.assert_array_equal(two, _big(2))
        assert len(store.referenced()) == 2


def _big(number: int) -> Any:
    return np.random.default_rng(number).normal(size=(5, MIB // 2)).astype("f4")


def _private() -> int:
    """Bytes of this process that no file backs.

    Not smaps' Private_*: it counts a segment's pages too while nobody else maps them.
    """
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("Anonymous:"))


def _load_big(root: Path) -> dict[str, tf.Variable]:
    variables = {f"v{i}": tf.Variable(tf.zeros([5, MIB // 2])) for i in range(10)}
    tf.train.Checkpoint(**variables).read(str(root / "big")).assert_consumed()
    return variables


def _load_big_saved(root: Path) -> tuple[Any, int]:
    """The SavedModel, and by how much loading and reading it made this process grow."""
    before = _private()
    loaded = tf.saved_model.load(str(root / "big-saved"))
    assert np.isfinite(sum(float(tf.reduce_sum(getattr(loaded, f"v{i}"))) for i in range(10)))
    gc.collect()
    return loaded, _private() - before


def memory(root: Path) -> None:
    """Sharing keeps next to nothing private; the stock way keeps all."""
    with sharing() as store:
        store.publish_elsewhere(str(root / "big-saved" / "variables" / "variables"))
        tf.saved_model.load(str(root / "saved"))  # what the first load of all costs
        shared, grown = _load_big_saved(root)
        assert grown < 16 * MIB, grown
        assert len(store.referenced()) == 10
        tetris.tensorflow.disable()
        _stock, grown = _load_big_saved(root)
        assert grown > 90 * MIB, grown
        np.testing.assert_array_equal(shared.v7, _big(7))


def training(root: Path) -> None:
    """A write costs the variable it is in, once, and reaches nobody else."""
    with sharing() as store:
        store.publish_elsewhere(str(root / "big"))
        mine, theirs = _load_big(root), _load_big(root)
        ones = tf.ones([5, MIB // 2])
        before = _private()
        mine["v3"].scatter_nd_update([[0, 0]], [9.0])
        mine["v4"].assign_add(ones)
        first = _private() - before
        mine["v3"].scatter_nd_update([[1, 1]], [8.0])
        assert first < 22 * MIB, first  # each has 10
        assert _private() - before - first < MIB
        np.testing.assert_array_equal(theirs["v3"], _big(3))
        np.testing.assert_array_equal(theirs["v4"], _big(4))
        np.testing.assert_array_equal(mine["v4"], _big(4) + 1)
        assert float(mine["v3"][0, 0]) == 9.0
        del theirs
        gc.collect()
        # Copied, not written in place: else a read-only mapping would not do where a private one
        # is refused.
        assert len(store.referenced()) == 8


def little_private_memory(root: Path) -> None:
    """Where a limit refuses private mappings, read-only ones serve, and training still works."""
    with sharing() as store:
        store.publish_elsewhere(str(root / "big-saved" / "variables" / "variables"))
        tf.saved_model.load(str(root / "saved"))
        fields = Path("/proc/self/status").read_text().split()
        used = int(fields[fields.index("VmData:") + 1]) << 10
        resource.setrlimit(resource.RLIMIT_DATA, (used + 45 * MIB, resource.RLIM_INFINITY))
        loaded = tf.saved_model.load(str(root / "big-saved"))
        resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        *_, model = tetris.tensorflow.report().models
        assert model.tensors == 10, model
        assert 5 <= model.read_only < 10, model
        for i in range(10):
            variable = getattr(loaded, f"v{i}")
            variable.assign_add(tf.ones([5, MIB // 2]))
            variable[2, 3].assign(7.0)
            expected = _big(i) + 1
            expected[2, 3] = 7.0
            np.testing.assert_array_equal(variable, expected)


def late(root: Path) -> None:
    """A restore that was run before enable shares when it is run again."""
    stock = _load_big(root)
    with sharing() as store:
        shared = _load_big(root)
        assert len(store.referenced()) == 10
        np.testing.assert_array_equal(shared["v1"], stock["v1"])


def lifetime(root: Path) -> None:
    """A tensor outlives sharing and the variables; with the last one segment and lease go."""
    with sharing() as store:
        variables = _load_big(root)
        assert len(store.leases()) == 1
        assert len(store.referenced()) == 10
        kept = variables["v5"].read_value()
        tetris.tensorflow.disable()
        del variables
        gc.collect()
        assert len(store.referenced()) == 1
        assert len(store.leases()) == 1
        np.testing.assert_array_equal(kept, _big(5))
        del kept
        gc.collect()
        assert store.referenced() == []
        assert store.leases() == []
        tetris.tensorflow.enable(resolver=store.resolve)
        variables = _load_big(root)
        assert store.attached == 2
        np.testing.assert_array_equal(variables["v5"], _big(5))


def forks(root: Path) -> None:
    """A fork after enable attaches for itself."""
    with sharing() as store:
        child = os.fork()
        loaded = tf.saved_model.load(str(root / "saved"))
        _check(root, loaded.signatures["serving_default"](x=tf.constant(INPUT)))
        assert tetris.tensorflow.report().fallbacks == {}
        assert any(lease.startswith(str(os.getpid())) for lease in store.leases())
        if not child:
            sys.stdout.flush()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0


def threads(root: Path) -> None:
    """Threads that restore at once share one attachment."""
    with sharing() as store:
        keep: list[Any] = []
        errors: list[BaseException] = []
        barrier = threading.Barrier(6)

        def work() -> None:
            try:
                barrier.wait()
                for _ in range(3):
                    keep.append(_load_big(root))
            except BaseException as error:
                errors.append(error)

        workers = [threading.Thread(target=work) for _ in range(6)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert errors == []
        assert store.attached == 1
        for variables in keep:
            np.testing.assert_array_equal(variables["v9"], _big(9))
        del variables
        keep.clear()
        gc.collect()
        assert store.referenced() == []


def overwritten(root: Path) -> None:
    """A checkpoint written anew restores the new weights."""
    with sharing() as store:
        prefix = str(root / "overwritten")
        kept = []
        for number in (1.0, 2.0, 1.0):
            tf.train.Checkpoint(v=tf.Variable([number] * 100)).write(prefix)
            got = tf.Variable([0.0] * 100)
            tf.train.Checkpoint(v=got).read(prefix).assert_consumed()
            assert got.numpy().tolist() == [number] * 100
            kept.append(got)
        assert store.attached == 3 - 1  # the third is the first again
        assert len(store.referenced()) == 2


def gone(root: Path) -> None:
    """A segment that is not there any more is read from the checkpoint, and counted."""
    with sharing() as store:
        held = _load_big(root)
        first = store.referenced()[0]
        (store.view / first).unlink()
        again = _load_big(root)
        for name, variable in again.items():
            np.testing.assert_array_equal(variable, held[name])
        assert tetris.tensorflow.report().read == {"the segment is gone": 1}
        assert tetris.tensorflow.report().models[0].tensors == 10 + 9


class _Warnings(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


def fallback(root: Path) -> None:
    """Whatever the resolver does, the load works; each reason is said once and counted."""
    warnings = _Warnings()
    logging.getLogger("tetris").addHandler(warnings)
    reasons: list[Exception] = [ConnectionError("no daemon"), ConnectionError("no daemon"),
                                MemoryError(), ConnectionError("no daemon")]  # fmt: skip

    def resolve(prefix: str) -> Any:
        raise reasons.pop(0)

    assert tetris.tensorflow.enable(resolver=resolve)
    for _ in range(4):
        _load_big(root)
    assert reasons == []
    report = tetris.tensorflow.report()
    assert report.fallbacks == {"no daemon": 3, "MemoryError": 1}
    assert report.models == ()
    assert len(warnings.said) == 2
    with temporary_store() as store:
        lost = store.resolve(str(root / "big"))
        store.view.rename(store.view.with_name(f"{store.view.name}-moved"))
        tetris.tensorflow.enable(resolver=lambda prefix: lost)
        variables = _load_big(root)
        np.testing.assert_array_equal(variables["v2"], _big(2))
        store.view.with_name(f"{store.view.name}-moved").rename(store.view)
    assert sum(tetris.tensorflow.report().fallbacks.values()) == 5


def other_version(root: Path) -> None:
    """In a TensorFlow we do not know, enable warns and changes nothing."""
    warnings = _Warnings()
    logging.getLogger("tetris").addHandler(warnings)
    tf.__version__ = "2.99.1"
    assert not tetris.tensorflow.enable()
    assert not tetris.tensorflow.enabled()
    assert len(warnings.said) == 1
    assert "2.99.1" in warnings.said[0]
    _load_big(root)


def iterator(root: Path) -> None:
    """A dataset iterator's state, a variant tensor, is restored with sharing on."""
    with sharing():
        made = iter(tf.data.Dataset.range(10))
        checkpoint = tf.train.Checkpoint(iterator=made)
        assert [next(made).numpy() for _ in range(3)] == [0, 1, 2]
        path = checkpoint.write(str(root / "iterator"))
        assert next(made).numpy() == 3
        checkpoint.read(path).assert_consumed()
        assert next(made).numpy() == 3


if __name__ == "__main__":
    scenario: Callable[[Path], None] = globals()[sys.argv[1]]
    scenario(Path(sys.argv[2]))
