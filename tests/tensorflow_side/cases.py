"""Restores of every kind, good and bad, to compare the kernel with the stock one.

``python -m tensorflow_side.cases build DIR`` writes the checkpoints, ``… run DIR MODE OUT``
restores from them and writes what came out: of every case the bytes, or the code of the error.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

E8 = tf.dtypes.experimental
DTYPES = [
    *(tf.float32, tf.float64, tf.float16, tf.bfloat16, E8.float8_e5m2, E8.float8_e4m3fn),
    *(tf.int8, tf.uint8, tf.int16, tf.uint16, tf.int32, tf.uint32, tf.int64, tf.uint64),
    *(tf.bool, tf.complex64, tf.complex128, tf.qint8, tf.quint8, tf.qint32, tf.string),
]
V1_DTYPES = [
    *(tf.float32, tf.float64, tf.float16, tf.uint16, tf.int32),
    *(tf.bool, tf.complex64, tf.qint8, tf.string),
]

LARGE = (16 << 20) + 1
"""Elements of a tensor that the stock kernel gives a thread of its own."""

Case = tuple[str, list[str], list[str], list[Any]]


def value(dtype: Any) -> tf.Tensor:
    """A 4 x 6 tensor that looks different in every element."""
    numbers = np.arange(24).reshape(4, 6)
    if dtype == tf.string:
        return tf.constant([[f"s{n}" * n for n in row] for row in numbers])
    if dtype == tf.bool:
        return tf.constant(numbers % 3 == 0)
    plain = {tf.qint8: tf.int8, tf.quint8: tf.uint8, tf.qint32: tf.int32}.get(dtype)
    if plain:
        return tf.bitcast(tf.cast(numbers, plain), dtype)
    return tf.cast(tf.constant(numbers, tf.float32), dtype)


def build(root: Path) -> None:
    """Write all checkpoints below ``root``."""
    for dtype in DTYPES:
        whole = value(dtype)
        names = ["whole", "parts", "parts"]
        specs = ["", "4 6 0,3:-", "4 6 3,1:-"]
        tensors = [whole, whole[:3], whole[3:]]
        tf.raw_ops.SaveV2(prefix=str(root / f"v2-{dtype.name}"), tensor_names=names,
                          shape_and_slices=specs, tensors=tensors)  # fmt: skip
    for dtype in V1_DTYPES:
        whole = value(dtype)
        tf.raw_ops.SaveSlices(filename=str(root / f"v1-{dtype.name}"),
                              tensor_names=["whole", "parts", "parts"],
                              shapes_and_slices=["", "4 6 0,3:-", "4 6 3,1:-"],
                              data=[whole, whole[:3], whole[3:]])  # fmt: skip
    mixed(root, "mixed")
    for name in ("large", "large-no-data"):
        large = tf.cast(tf.range(LARGE), tf.int8)
        tf.raw_ops.SaveV2(prefix=str(root / name), tensor_names=["a", "b", "c", name],
                          shape_and_slices=[""] * 4,
                          tensors=[large, large + 1, tf.constant(1), tf.constant(2)])  # fmt: skip
    (root / "large-no-data.data-00000-of-00001").unlink()
    halves = value(tf.float32)
    tf.raw_ops.SaveV2(prefix=str(root / "holes"), tensor_names=["t"],
                      shape_and_slices=["4 6 0,2:-"], tensors=[halves[:2]])  # fmt: skip
    (root / "[1]").mkdir()
    (root / "1").mkdir()
    for directory, number in (("[1]", 1.0), ("1", 2.0)):
        tf.raw_ops.SaveV2(prefix=str(root / directory / "c"), tensor_names=["t"],
                          shape_and_slices=[""], tensors=[tf.constant(number)])  # fmt: skip
    _damage(root)


def mixed(root: Path, name: str) -> None:
    """A checkpoint of many shapes, and of an index that no other has."""
    tensors = {
        "scalar": tf.constant(2.5),
        "empty": tf.zeros([0, 3]),
        "name/with spaces": tf.range(5),
        "é": tf.constant([1.0]),
        "words": tf.constant(["a", "", "long " * 100]),
        "big": tf.reshape(tf.range(120000, dtype=tf.int64), [300, 400]),
        "columns": tf.reshape(tf.range(64, dtype=tf.float32), [8, 8]),
        f"of {name}": tf.constant(1),
    }
    blank = [""] * len(tensors)
    tf.raw_ops.SaveV2(prefix=str(root / name), tensor_names=list(tensors),
                      shape_and_slices=blank, tensors=list(tensors.values()))  # fmt: skip


def _damage(root: Path) -> None:
    index, data = ".index", ".data-00000-of-00001"

    def undamaged(name: str) -> Path:
        mixed(root, name)
        return root / name

    def rewrite(path: str, change: Any) -> None:
        file = root / path
        file.write_bytes(bytes(change(bytearray(file.read_bytes()))))

    def flip(at: int) -> Any:
        def change(content: bytearray) -> bytearray:
            content[at] ^= 0x55
            return content

        return change

    undamaged("no-data").with_suffix(data).unlink()
    undamaged("flipped-data")
    rewrite(f"flipped-data{data}", lambda c: bytearray(b ^ 0x55 for b in c))
    undamaged("short-data")
    rewrite(f"short-data{data}", lambda c: c[: len(c) // 2])
    undamaged("empty-data")
    rewrite(f"empty-data{data}", lambda c: b"")
    size = (root / f"mixed{index}").stat().st_size
    for name, change in {
        "empty-index": lambda c: b"",
        "short-index": lambda c: c[: len(c) // 2],
        "text-index": lambda c: b"not a table " * 50,
        **{f"flipped-index-{at}": flip(at) for at in (0, 9, 60, size // 2, size - 60, size - 20)},
        "flipped-index-end": flip(size - 1),
    }.items():
        undamaged(name)
        rewrite(f"{name}{index}", change)
    (root / "directory.index").mkdir()


def cases(root: Path) -> dict[str, Case]:
    """Every case: prefix, names, slices, dtypes."""
    found: dict[str, Case] = {}
    f32 = tf.float32
    boxes = ["", "4 6 -:-", "4 6 0,4:-", "4 6 0,3:-", "4 6 3,1:-", "4 6 1,2:-", "4 6 0,4:2,3",
             "4 6 2,1:3,2", "4 6 0,3:0,6"]  # fmt: skip
    for dtype, version in [*((d, "v2") for d in DTYPES), *((d, "v1") for d in V1_DTYPES)]:
        prefix = str(root / f"{version}-{dtype.name}")
        for name in ("whole", "parts"):
            for box in boxes:
                found[f"{version} {dtype.name} {name} {box}"] = (prefix, [name], [box], [dtype])
        found[f"{version} {dtype.name} both"] = (
            prefix, ["whole", "parts", "parts", "whole"], ["", "4 6 3,1:-", "4 6 0,3:-", ""],
            [dtype] * 4,
        )  # fmt: skip
        other = tf.int32 if dtype != tf.int32 else f32
        found[f"{version} {dtype.name} as {other.name}"] = (prefix, ["whole"], [""], [other])
        found[f"{version} {dtype.name} missing"] = (
            prefix, ["whole", "none"], ["", ""], [dtype] * 2)  # fmt: skip

    def both(key: str, names: list[str], specs: list[str], dtypes: list[Any]) -> None:
        for version in ("v2", "v1"):
            prefix = str(root / f"{version}-float32")
            found[f"{version} {key}"] = (prefix, names, specs, dtypes)

    for spec in ("x", "4", "0,2", " ", "4 6", "4 6 0,5:-", "4 6 0,2", "4 6 0,2:-:-", "4 6 4,1:-",
                 "4 6 0,0:-", "4 6 0,-1:-", "4 6 0,2,3:-", "4 6 a,b:-", "4 a 0,2:-", "4  6 0,2:-",
                 "4 6 0,2:- ", "4 7 0,2:-", "6 4 0,2:-", "24 0,2", "4 6 :0,2::-:",
                 "4 6 9223372036854775800,1:-"):  # fmt: skip
        both(f"spec {spec!r}", ["whole"], [spec], [f32])
        both(f"parts spec {spec!r}", ["parts"], [spec], [f32])
    both("no names for two dtypes", [], [], [f32, f32])
    both("one name for two dtypes", ["whole"], ["", ""], [f32, f32])
    both("two names for one dtype", ["whole", "whole"], ["", ""], [f32])
    both("one spec for two names", ["whole", "whole"], [""], [f32, f32])
    both("empty name", [""], [""], [f32])
    both("name with NUL", ["whole\0x"], [""], [f32])
    both("missing goes before wrong dtype", ["whole", "none"], ["", ""], [tf.int32, f32])
    both("wrong dtype goes before missing", ["none", "whole"], ["", ""], [f32, tf.int32])
    both("wrong dtype and bad spec", ["whole", "whole"], ["x", ""], [f32, tf.int32])
    both("bad spec", ["whole", "whole"], ["", "x"], [f32, f32])
    both("string as number", ["whole"], [""], [tf.string])
    both("variant", ["whole"], [""], [tf.variant])
    both("resource", ["whole"], [""], [tf.resource])

    kinds: list[tuple[str, Any]] = [
        ("scalar", f32), ("empty", f32), ("name/with spaces", tf.int32), ("é", f32),
        ("words", tf.string), ("big", tf.int64), ("columns", f32),
    ]  # fmt: skip
    names, dtypes = [name for name, _ in kinds], [dtype for _, dtype in kinds]
    blank = [""] * len(kinds)
    for name in ("mixed", "no-data", "flipped-data", "short-data", "empty-data", "empty-index",
                 "short-index", "text-index", "nothing", "directory",
                 "no/such/directory"):  # fmt: skip
        found[f"{name} all"] = (str(root / name), names, blank, dtypes)
    for path in sorted(root.glob("flipped-index-*.index")):
        found[f"{path.stem} all"] = (str(path.with_suffix("")), names, blank, dtypes)
    for key in ("mixed", "no-data", "flipped-data", "short-data"):
        for name, dtype in kinds:
            found[f"{key} {name}"] = (str(root / key), [name], [""], [dtype])
    prefix = str(root / "mixed")
    for name, spec, dtype in (
        ("empty", "0 3 -:-", f32), ("empty", "0 3 -:0,2", f32), ("empty", "0 3 0,1:-", f32),
        ("scalar", " ", f32), ("scalar", "1 0,1", f32), ("words", "3 0,2", tf.string),
        ("words", "3 -", tf.string), ("columns", "8 8 -:3,2", f32), ("columns", "8 8 2,2:-", f32),
        ("columns", "8 8 1,1:1,3", f32), ("big", "300 400 7,100:-", tf.int64),
        ("big", "300 400 7,100:5,300", tf.int64),
    ):  # fmt: skip
        found[f"mixed {name} {spec!r}"] = (prefix, [name], [spec], [dtype])
    i8, i32 = tf.int8, tf.int32
    for name in ("large", "large-no-data"):
        prefix = str(root / name)
        blank4 = [""] * 4
        found[f"{name} two"] = (prefix, ["a", "c", "b", "a"], blank4, [i8, i32, i8, i8])
        found[f"{name} one"] = (prefix, ["a"], [""], [i8])
        found[f"{name} and bad spec"] = (prefix, ["a", "c", "b"], ["", "x", ""], [i8, i32, i8])
        found[f"{name} and missing"] = (prefix, ["a", "c", "b", "d"], blank4, [i8, i32, i8, i32])
    for spec in ("", "4 6 0,2:-", "4 6 0,3:-", "4 6 0,1:-", "4 6 3,1:-"):
        found[f"holes {spec}"] = (str(root / "holes"), ["t"], [spec], [f32])
    for prefix in ("foo://bucket/model", "file://" + str(root / "mixed"), str(root / "mixe?"),
                   str(root / "mix*"), str(root / "[1]" / "c"), str(root / "m[i]xed"), "", ".",
                   str(root), str(root) + "/", str(root / "mixed.index"), str(root / "v1-float*"),
                   "ram://nothing/here"):  # fmt: skip
        found[f"prefix {prefix.replace(str(root), 'ROOT')!r}"] = (
            prefix, ["columns", "scalar"], ["", ""], [f32, f32])  # fmt: skip
    return found


def outcome(case: Case) -> list[Any]:
    """What the restore gives: dtypes, shapes and bytes, or the error's code."""
    prefix, names, specs, dtypes = case
    try:
        tensors = tf.raw_ops.RestoreV2(
            prefix=prefix,
            tensor_names=tf.constant(names, tf.string),
            shape_and_slices=tf.constant(specs, tf.string),
            dtypes=dtypes,
        )
    except tf.errors.OpError as error:
        return ["error", type(error).__name__]
    return [[tensor.dtype.name, list(tensor.shape), content(tensor)] for tensor in tensors]


def content(tensor: tf.Tensor) -> str:
    """A tensor's bytes, spelled."""
    if tensor.dtype == tf.string:
        return repr(tensor.numpy().tolist())
    plain = {tf.qint8: tf.int8, tf.quint8: tf.uint8, tf.qint32: tf.int32}.get(tensor.dtype)
    array = (tf.bitcast(tensor, plain) if plain else tensor).numpy()
    data = np.ascontiguousarray(array).tobytes()
    return data.hex() if len(data) < 1 << 20 else hashlib.sha256(data).hexdigest()


def run(root: Path, mode: str) -> dict[str, Any]:
    """Run all cases with the kernel ``stock``, ``shared``, ``fallback`` or ``disabled``."""
    outcomes = {}
    if mode == "stock":
        return {name: outcome(case) for name, case in cases(root).items()}

    import tetris.tensorflow
    from tensorflow_side.store import temporary_store

    with temporary_store() as store:
        if mode == "fallback":
            tetris.tensorflow.enable("/nowhere/tetris.socket", resolver=_unavailable)
        else:
            tetris.tensorflow.enable(resolver=store.resolve)
        if mode == "disabled":
            tetris.tensorflow.disable()
        for name, case in cases(root).items():
            outcomes[name] = outcome(case)
        report = tetris.tensorflow.report()
        outcomes["shared tensors"] = sum(model.tensors for model in report.models)
        outcomes["fallbacks"] = sum(report.fallbacks.values())
    return outcomes


def _unavailable(prefix: str) -> Any:
    raise ConnectionError("no daemon answers")


if __name__ == "__main__":
    if sys.argv[1] == "build":
        build(Path(sys.argv[2]))
    else:
        Path(sys.argv[4]).write_text(json.dumps(run(Path(sys.argv[2]), sys.argv[3])))
