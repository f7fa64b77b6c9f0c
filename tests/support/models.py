"""Small models on disk, without TensorFlow."""

from __future__ import annotations

import os
import struct
import tempfile
from pathlib import Path

import bundle_writer


def floats(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def write_model(directory: Path, tensors: dict[str, tuple[tuple[int, ...], bytes]]) -> Path:
    """A SavedModel of float32 tensors: enough of one for a store, which reads no graph."""
    bundle_writer.write(directory / "variables" / "variables", tensors)
    (directory / "saved_model.pb").write_bytes(b"graph of " + directory.name.encode())
    return directory


def random_model(directory: Path, *, tensors: int = 3, kib: int = 64) -> Path:
    """A SavedModel of random float32 tensors ``t0``, ``t1``, … of ``kib`` KiB each."""
    rows = kib * 1024 // 4
    return write_model(
        directory, {f"t{i}": ((rows,), os.urandom(rows * 4)) for i in range(tensors)}
    )


def data_file(model: Path) -> Path:
    return model / "variables" / "variables.data-00000-of-00001"


def let_through(*directories: Path) -> None:
    """Let any user pass through these directories of the test run, and their parents in it."""
    top = Path(tempfile.gettempdir())
    for directory in directories:
        for part in (directory, *directory.parents):
            if part.is_relative_to(top) and part != top:
                part.chmod(part.stat().st_mode | 0o011)
