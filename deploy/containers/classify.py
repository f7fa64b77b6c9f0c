"""A serving program, unchanged: it knows nothing of Tetris.

``classify.py MODEL`` loads a SavedModel, answers one request, prints what that took, and serves on
until it is told to end.
"""

from __future__ import annotations

import hashlib
import json
import signal
import sys
import time

import numpy as np
import tensorflow as tf


def main(path: str) -> None:
    """Load, answer, wait."""
    started = time.perf_counter()
    model = tf.saved_model.load(path)
    loaded = time.perf_counter() - started
    classify = model.signatures["serving_default"]
    images = np.random.default_rng(7).random((1, 224, 224, 3), dtype=np.float32)
    (argument,) = classify.structured_input_signature[1]
    (answer,) = classify(**{argument: tf.constant(images)}).values()
    digest = hashlib.sha256(answer.numpy().tobytes()).hexdigest()
    print(json.dumps({"load_s": round(loaded, 2), "output": digest}), flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    # A container's first process has no default for these: it must take them itself.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    main(sys.argv[1])
