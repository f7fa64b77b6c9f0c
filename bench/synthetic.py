"""Checkpoints of random bytes, for figures in which the model does not matter."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import bundle_writer


def checkpoint(directory: Path, tensors: int, nbytes: int) -> Path:
    """A checkpoint of ``tensors`` different tensors of ``nbytes`` each; its prefix."""
    prefix = directory / "checkpoint"
    names = [f"t{number:05}" for number in range(tensors)]
    bundle_writer.write(prefix, {name: ((nbytes // 4,), os.urandom(nbytes)) for name in names})
    return prefix
