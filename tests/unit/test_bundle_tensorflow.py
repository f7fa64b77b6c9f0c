"""The reader against checkpoints that TensorFlow itself wrote, compared with its own reader."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tetris.formats import CheckpointFiles, Entry, dtypes, locate, locate_prefix, slice_runs
from tetris.shm import crc32c

tf: Any = pytest.importorskip("tensorflow")

GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"


def save(prefix: Path, tensors: dict[str, Any], specs: dict[str, str] | None = None) -> str:
    """Write a checkpoint with the op that every saver ends in."""
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=list(tensors),
        shape_and_slices=[(specs or {}).get(name, "") for name in tensors],
        tensors=list(tensors.values()),
    )
    return str(prefix)


def read(files: CheckpointFiles, entry: Entry) -> bytes:
    """A tensor's bytes, put together from wherever they lie, every checksum checked."""
    full = bytearray(entry.nbytes)
    itemsize = dtypes.BY_NAME[entry.dtype].itemsize
    for part in entry.stored:
        fd = files.open_shard(part.shard)
        data = os.pread(fd, part.nbytes, part.offset)
        os.close(fd)
        assert crc32c(data) == part.crc32c
        if isinstance(part, Entry):
            return data
        for to, at, nbytes in slice_runs(entry.shape, itemsize, part.extents):
            full[to : to + nbytes] = data[at : at + nbytes]
    return bytes(full)


def strings(files: CheckpointFiles, entry: Entry) -> tuple[bytes, ...]:
    fd = files.open_shard(entry.shard)
    try:
        return files.read_strings(entry, fd)
    finally:
        os.close(fd)


def compare(files: CheckpointFiles) -> dict[str, Entry]:
    """Every tensor equals what TensorFlow reads; the answer is the entries by name."""
    reader = tf.train.load_checkpoint(f"{files.prefix}")
    entries = {entry.name: entry for entry in files.bundle.entries}
    shapes, kinds = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    assert sorted(entries) == sorted(shapes)
    for name, entry in entries.items():
        assert not entry.refusal
        assert list(entry.shape) == shapes[name]
        assert dtypes.BY_NAME[entry.dtype].number == kinds[name].as_datatype_enum
        value = reader.get_tensor(name)
        if entry.dtype == "string":
            # Not as bytes to numpy, which drops zeros at their end.
            assert strings(files, entry) == tuple(np.array(value, object).reshape(-1).tolist())
        else:
            value = np.asarray(value)
            assert entry.nbytes == value.nbytes
            assert read(files, entry) == value.tobytes()
    return entries


def known_dtypes() -> list[str]:
    """Those this TensorFlow has a type for."""
    names = []
    for name in dtypes.BY_NAME:
        try:
            tf.as_dtype(name)
        except TypeError:
            continue
        names.append(name)
    return sorted(set(names) - {"string"})


def sample(name: str) -> Any:
    """Six elements of a dtype."""
    kind = tf.as_dtype(name)
    if kind.is_quantized:
        plain = tf.constant(np.arange(6), dtypes.BY_NAME[name].numpy)
        return tf.reshape(tf.bitcast(plain, kind), [2, 3])
    return tf.constant(np.array([[1, 0, 1], [0, 1, 1]]).astype(kind.as_numpy_dtype))


@pytest.mark.parametrize("name", known_dtypes())
def test_every_numeric_dtype(tmp_path: Path, name: str) -> None:
    """The number TensorFlow writes is the one our table has, and so is the size."""
    files = locate_prefix(save(tmp_path / "m", {"t": sample(name)}))
    (entry,) = compare(files).values()
    assert (entry.dtype, entry.shape) == (name, (2, 3))
    assert entry.nbytes == 6 * tf.as_dtype(name).size
    assert crc32c(read(files, entry)) == entry.crc32c


def test_numpy_knows_the_names(tmp_path: Path) -> None:
    """The numpy view of a dtype is TensorFlow's, quantized types aside."""
    for name in known_dtypes():
        if not tf.as_dtype(name).is_quantized:
            assert np.dtype(tf.as_dtype(name).as_numpy_dtype).name == dtypes.BY_NAME[name].numpy


def test_scalars_empty_tensors_and_names(tmp_path: Path) -> None:
    """Shapes without axes or elements, and names like paths."""
    tensors = {
        "scalar": tf.constant(1.5),
        "empty": tf.zeros([3, 0, 2]),
        "../up/./x": tf.constant([1, 2], tf.int64),
        "ä/变量": tf.constant([True]),
    }
    entries = compare(locate_prefix(save(tmp_path / "m", tensors)))
    assert entries["empty"].nbytes == 0


def test_strings(tmp_path: Path) -> None:
    """Empty, binary, long, none, and a scalar."""
    tensors = {
        "mixed": tf.constant([[b"", b"\0\xff"], [b"x" * 70_000, b"last"]]),
        "scalar": tf.constant("one"),
        "none": tf.zeros([0, 2], tf.string),
        "empties": tf.constant([b""] * 200),
    }
    compare(locate_prefix(save(tmp_path / "m", tensors)))


def test_many_tensors_fill_many_blocks(tmp_path: Path) -> None:
    """An index beyond one block of the table, with long shared prefixes."""
    tensors = {f"{'block/' * 40}{i}": tf.constant(i) for i in range(6000)}
    path = save(tmp_path / "m", tensors)
    entries = locate_prefix(path).bundle.entries
    assert {e.name for e in entries} == set(tensors)
    assert [e.offset for e in sorted(entries, key=lambda e: int(e.name.rpartition("/")[2]))] == (
        sorted(e.offset for e in entries)
    )


SPECS = {
    "axis 0": ["6 4 0,1:-", "6 4 1,3:-", "6 4 4,2:-"],
    "axis 1": ["6 4 -:0,3", "6 4 -:3,1"],
    "both": ["6 4 0,2:0,4", "6 4 2,4:0,1", "6 4 2,4:1,3"],
    "spelled out": ["6 4 0,3:0,4", "6 4 3,3:-"],
    "grid": [f"6 4 {a},3:{b},2" for a in (0, 3) for b in (0, 2)],
}


def cut_of(spec: str) -> tuple[slice, ...]:
    """What "6 4 0,2:-" takes of the whole, for numpy."""
    cuts = []
    for part in spec.split(" ")[-1].split(":"):
        start, _, length = part.partition(",")
        cuts.append(slice(int(start), int(start) + int(length)) if length else slice(None))
    return tuple(cuts)


@pytest.mark.parametrize("kind", SPECS)
def test_partitioned_variables(tmp_path: Path, kind: str) -> None:
    """Slices along either axis and both are one tensor, put together as TensorFlow does."""
    full = np.arange(24, dtype=np.float32).reshape(6, 4)
    whole = tf.constant([1, 2, 3])
    prefixes = []
    for number, spec in enumerate(SPECS[kind]):
        tensors = {"v": tf.constant(full[cut_of(spec)]), f"whole{number}": whole}
        prefixes.append(save(tmp_path / f"part{number}", tensors, {"v": spec}))
    merged = str(tmp_path / "m")
    tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=prefixes, destination_prefix=merged)
    entries = compare(locate_prefix(merged))
    assert len(entries["v"].slices) == len(SPECS[kind])
    assert {part.shard for part in entries["v"].slices} == set(range(len(SPECS[kind])))


def test_slices_in_one_shard(tmp_path: Path) -> None:
    """Partitions of one name in one save, in 64 parts, so that starts need two bytes."""
    full = np.arange(6400, dtype=np.int64).reshape(6400, 1)
    tf.raw_ops.SaveV2(
        prefix=str(tmp_path / "m"),
        tensor_names=["v"] * 64,
        shape_and_slices=[f"6400 1 {i * 100},100:-" for i in range(64)],
        tensors=[tf.constant(full[i * 100 : i * 100 + 100]) for i in range(64)],
    )
    assert len(compare(locate_prefix(str(tmp_path / "m")))["v"].slices) == 64


def test_many_shards(tmp_path: Path) -> None:
    """Merged checkpoints keep a data file each."""
    prefixes = [save(tmp_path / f"p{i}", {f"t{i}": tf.range(i + 1)}) for i in range(12)]
    merged = str(tmp_path / "m")
    tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=prefixes, destination_prefix=merged)
    files = locate_prefix(merged)
    assert files.bundle.num_shards == 12
    assert {entry.shard for entry in compare(files).values()} == set(range(12))


def test_a_variant_is_refused_alone(tmp_path: Path) -> None:
    """TensorFlow can save variants; nobody can share them."""
    variant = tf.raw_ops.EmptyTensorList(
        element_shape=tf.constant([], tf.int32), max_num_elements=0, element_dtype=tf.float32
    )
    files = locate_prefix(save(tmp_path / "m", {"a": variant, "b": tf.constant(1.0)}))
    a, b = files.bundle.entries
    assert "tensor a has dtype variant (DataType 21)" in a.refusal
    assert not b.refusal


class Net(tf.Module):
    """A little of what models have."""

    def __init__(self) -> None:
        super().__init__()
        self.w = tf.Variable(tf.random.normal([4, 3]))
        self.h = tf.Variable(tf.zeros([3], tf.bfloat16))
        self.n = tf.Variable(7, dtype=tf.int64)

    @tf.function(input_signature=[tf.TensorSpec([None, 4])])
    def __call__(self, x: Any) -> Any:
        return x @ self.w


def test_a_checkpoint_of_tf_train(tmp_path: Path) -> None:
    """Object-based checkpoints, found by prefix and by directory."""
    checkpoint = tf.train.Checkpoint(net=Net())
    manager = tf.train.CheckpointManager(checkpoint, str(tmp_path / "run"), max_to_keep=2)
    manager.save()
    path = manager.save()
    entries = compare(locate_prefix(path))
    assert GRAPH in entries
    assert entries["net/h/.ATTRIBUTES/VARIABLE_VALUE"].dtype == "bfloat16"
    latest = locate(str(tmp_path / "run"))
    assert (latest.name, latest.fingerprint) == ("run/ckpt-2", locate(path).fingerprint)


def test_a_saved_model_of_tf2(tmp_path: Path) -> None:
    """What tf.saved_model.save writes, found by directory and by RestoreV2's prefix."""
    home = tmp_path / "net" / "3"
    tf.saved_model.save(Net(), str(home))
    files = locate(str(home))
    assert files.name == "net/3"
    assert "w/.ATTRIBUTES/VARIABLE_VALUE" in compare(files)
    assert locate_prefix(str(home / "variables" / "variables")).fingerprint == files.fingerprint


def test_what_tf1_saves(tmp_path: Path) -> None:
    """A Saver's checkpoint with a partitioned variable, and simple_save's SavedModel."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None, 5])
        cut = v1.fixed_size_partitioner(2)
        w = v1.get_variable("w", [5, 2], partitioner=cut, use_resource=False)
        b = v1.get_variable("scope/b", [2], use_resource=False)
        y = tf.matmul(x, tf.convert_to_tensor(w)) + b
        session.run(v1.global_variables_initializer())
        prefix = v1.train.Saver().save(session, str(tmp_path / "run" / "model"), global_step=4)
        v1.saved_model.simple_save(session, str(tmp_path / "exported"), {"x": x}, {"y": y})
    entries = compare(locate_prefix(prefix))
    assert sorted(entries) == ["scope/b", "w"]
    assert len(entries["w"].slices) == 2
    assert locate(str(tmp_path / "run")).fingerprint == locate(prefix).fingerprint
    assert sorted(compare(locate(str(tmp_path / "exported")))) == ["scope/b", "w"]


def test_both_descriptors_in_one_pool() -> None:
    """Our messages and TensorFlow's load into one process."""
    from tensorflow.core.protobuf import tensor_bundle_pb2

    from tetris.formats import bundle_pb2

    theirs = tensor_bundle_pb2.BundleEntryProto(dtype=1, shard_id=3, offset=5, size=9, crc32c=2)
    theirs.shape.dim.add(size=4)
    theirs.slices.add().extent.add(start=0, length=0)
    ours = bundle_pb2.BundleEntry.FromString(theirs.SerializeToString())
    assert ours.SerializeToString() == theirs.SerializeToString()
    assert (ours.dtype, ours.shard_id, ours.offset, ours.size, ours.crc32c) == (1, 3, 5, 9, 2)
    assert ours.slices[0].extent[0].HasField("length")
