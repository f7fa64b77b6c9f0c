"""A store in a directory, and a resolver over it: the daemon's part, without a daemon.

``python -m tensorflow_side.store PREFIX DIR`` publishes a checkpoint from a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from blake3 import blake3

import tetris.shm
from tetris.tensorflow import Attachment, Resolved, SharedTensor


class Store:
    """Publishes checkpoints into ``view`` when they are first attached.

    Attributes:
        view: directory of the segments and of the leases.
        attached: how many times a model was attached.
    """

    def __init__(self, view: Path) -> None:
        self.view = view
        self.fd = os.open(view, os.O_RDONLY | os.O_DIRECTORY)
        self.attached = 0
        self._lock = threading.Lock()

    def resolve(self, prefix: str) -> Resolved:
        """The resolver to enable sharing with."""
        fingerprint = blake3(Path(f"{prefix}.index").read_bytes())
        return Resolved(fingerprint.digest(), lambda: self._attach(fingerprint.hexdigest(), prefix))

    def publish_elsewhere(self, prefix: str) -> None:
        """Publish from another process: what it takes is not in this one's memory."""
        subprocess.run([sys.executable, "-m", __name__, prefix, self.view], check=True)

    def publish(self, prefix: str, model: str) -> None:
        """Make the tensors of the checkpoint segments, and its manifest the file ``model``."""
        manifest = json.dumps(self._segments(prefix))
        hidden = self.view / f".{model}-{os.getpid()}-{threading.get_ident()}"
        hidden.write_text(manifest)
        hidden.rename(self.view / f"{model}.model")

    def leases(self) -> list[str]:
        """Names of the leases that somebody holds."""
        return self._held("*.lease")

    def referenced(self) -> list[str]:
        """Digests of the segments that somebody maps."""
        return self._held("?" * 64)

    def intact(self) -> bool:
        """Whether every segment still has the bytes its name says."""
        return all(blake3(p.read_bytes()).hexdigest() == p.name for p in self.view.glob("?" * 64))

    def _held(self, pattern: str) -> list[str]:
        names = sorted(path.name for path in self.view.glob(pattern))
        return [name for name in names if tetris.shm.is_referenced(self.fd, name)]

    @contextmanager
    def _attach(self, model: str, prefix: str) -> Iterator[Attachment]:
        manifest = self.view / f"{model}.model"
        with self._lock:
            if not manifest.exists():
                self.publish(prefix, model)
            self.attached += 1
            lease = f"{os.getpid()}-{self.attached}.lease"
            self._write(lease, b"lease")
        tensors = [SharedTensor(*row) for row in json.loads(manifest.read_text())]
        yield Attachment(str(self.view), lease, tensors)

    def _segments(self, prefix: str) -> list[tuple[str, str, list[int], str, int]]:
        from tensorflow.compat.v1.train import NewCheckpointReader

        reader = NewCheckpointReader(prefix)
        tensors = []
        for name, dtype in reader.get_variable_to_dtype_map().items():
            try:
                value = np.asarray(reader.get_tensor(name))
            except Exception as error:
                if "not supported" in str(error) or "Not supported" in str(error):
                    continue  # a partitioned variable of a dtype that TensorFlow does not cut
                raise
            if value.dtype == object:
                continue
            data = value.tobytes()
            digest = blake3(data).hexdigest() if data else ""
            if data:
                self._write(digest, data)
            tensors.append((name, dtype.name, list(value.shape), digest, len(data)))
        return tensors

    def _write(self, name: str, data: bytes) -> None:
        hidden = f".{os.getpid()}-{threading.get_ident()}"
        mapping = tetris.shm.reserve(self.fd, hidden, len(data))
        mapping.buffer()[:] = data
        del mapping
        if not tetris.shm.seal(self.fd, hidden, name):
            (self.view / hidden).unlink()


@contextmanager
def temporary_store() -> Iterator[Store]:
    """A store on a tmpfs, gone afterwards."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="tetris-test-child-") as directory:
        yield Store(Path(directory))


if __name__ == "__main__":
    store = Store(Path(sys.argv[2]))
    store.publish(sys.argv[1], store.resolve(sys.argv[1]).fingerprint.hex())
