"""Which segments the published models name: of one tenant, or of all that share a pool."""

from __future__ import annotations

import threading
from collections import Counter

from tetris.manifest import Manifest


class Index:
    """Counts by digest; safe to use from many threads."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._users: Counter[bytes] = Counter()
        self._sizes: dict[bytes, int] = {}
        self._twins: dict[tuple[int, int], Counter[bytes]] = {}

    def add(self, manifest: Manifest) -> None:
        """A model was published."""
        with self._mutex:
            self._sizes.update(manifest.segments)
            self._users.update(manifest.segments.keys())
            for tensor in manifest.tensors:
                if tensor.nbytes:
                    key = tensor.nbytes, tensor.crc32c
                    self._twins.setdefault(key, Counter())[tensor.digest] += 1

    def discard(self, manifest: Manifest) -> None:
        """It is published no more."""
        with self._mutex:
            for digest in manifest.segments:
                self._users[digest] -= 1
                if not self._users[digest]:
                    del self._users[digest], self._sizes[digest]
            for tensor in manifest.tensors:
                if tensor.nbytes:
                    self._discard_twin((tensor.nbytes, tensor.crc32c), tensor.digest)

    def users(self, digest: bytes) -> int:
        """How many models name that segment."""
        with self._mutex:
            return self._users[digest]

    def segments(self) -> dict[bytes, int]:
        """Size in bytes of every segment that a model names."""
        with self._mutex:
            return dict(self._sizes)

    def twins(self, nbytes: int, crc32c: int) -> list[bytes]:
        """Digests of segments of that size and checksum: likely, not certain, equals."""
        with self._mutex:
            return list(self._twins.get((nbytes, crc32c), ()))

    def _discard_twin(self, key: tuple[int, int], digest: bytes) -> None:
        likely = self._twins[key]
        likely[digest] -= 1
        if not likely[digest]:
            del likely[digest]
        if not likely:
            del self._twins[key]
