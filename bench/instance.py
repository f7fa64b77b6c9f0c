"""One serving process, measured from inside: ``instance.py stock|tetris MODEL``.

Prints one JSON line when the model is loaded and has answered once, then lives until its standard
input closes, so that several can be looked at together.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import memory
from quiet import QUIET


class Instance:
    """A running instance; a context manager that ends it.

    Attributes:
        facts: what it printed: ``load_s``, ``growth`` (private bytes the load added), ``output``.
    """

    def __init__(self, runtime: str, model: Path, socket: Path | None = None) -> None:
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the instance)
        environment = QUIET if socket is None else {**QUIET, "TETRIS_SOCKET": str(socket)}
        self.process = subprocess.Popen(
            [sys.executable, __file__, runtime, str(model)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            env=environment,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self._complaints.seek(0)
            raise RuntimeError(self._complaints.read().decode(errors="replace"))
        self.facts: dict[str, Any] = json.loads(line)

    def cost(self) -> memory.Cost:
        """What it costs now."""
        return memory.cost(self.process.pid)

    def close(self) -> None:
        """End it and wait."""
        self.process.communicate()
        self._complaints.close()

    def __enter__(self) -> Instance:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _serve(runtime: str, path: str) -> dict[str, Any]:
    import gc
    import hashlib

    import numpy as np
    import tensorflow as tf

    memory.cost()  # the first look costs memory itself
    gc.collect()
    before = memory.cost().private
    if runtime == "tetris":
        import tetris.tensorflow

        tetris.tensorflow.enable()
    # TensorFlow's import leaves so much that a full collection takes 0.1 s: it must not fall by
    # chance into the one load and not into the other.
    gc.collect()
    started = time.perf_counter()
    model = tf.saved_model.load(path)
    took = time.perf_counter() - started
    gc.collect()
    growth = memory.cost().private - before
    signature = model.signatures["serving_default"]
    images = np.random.default_rng(7).random((1, 224, 224, 3), dtype=np.float32)
    (argument,) = signature.structured_input_signature[1]
    (output,) = signature(**{argument: tf.constant(images)}).values()
    facts = {
        "load_s": took,
        "growth": growth,
        "output": hashlib.sha256(output.numpy().tobytes()).hexdigest(),
    }
    if runtime == "tetris":
        facts["report"] = str(tetris.tensorflow.report())
    globals()["kept"] = model
    return facts


if __name__ == "__main__":
    print(json.dumps(_serve(*sys.argv[1:3])), flush=True)
    sys.stdin.read()
