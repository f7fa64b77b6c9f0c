"""What was shared, what was not, and why: counted, and said once."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

log = logging.getLogger("tetris")

_MOST_REASONS = 100  # a reason may name a prefix, so their number needs a bound
_OTHER = "other reasons"


@dataclass(frozen=True)
class SharedModel:
    """What this process has restored of one model through sharing.

    Attributes:
        fingerprint: 64 hex digits.
        prefix: where it was last restored from.
        restores: runs of the restore op.
        tensors: that were mapped, in all these runs.
        nbytes: in those.
        read_only: mappings that had to be, a limit on private memory refusing any other.
        copied: slices that were copied out of a segment, being in many pieces or unaligned.
    """

    fingerprint: str
    prefix: str
    restores: int = 0
    tensors: int = 0
    nbytes: int = 0
    read_only: int = 0
    copied: int = 0


@dataclass(frozen=True)
class Report:
    """What became of the restores of this process since ``enable`` was first called.

    Attributes:
        models: those that were shared.
        fallbacks: by reason, how many restores went the stock way altogether.
        read: by reason, how many tensors of shared models were read from their checkpoint.
    """

    models: tuple[SharedModel, ...]
    fallbacks: Mapping[str, int]
    read: Mapping[str, int]


class Ledger:
    """The counts behind a report. Thread-safe."""

    def __init__(self) -> None:
        self._models: dict[str, SharedModel] = {}
        self._fallbacks: Counter[str] = Counter()
        self._read: Counter[str] = Counter()
        self._warned: set[str] = set()
        self.renew_lock()

    def renew_lock(self) -> None:
        """Forget who holds the lock: for a child just forked."""
        self._lock = threading.Lock()

    def shared(self, prefix: str, fingerprint: bytes, counts: Mapping[str, int]) -> None:
        """Add one restore with an attached model to its counts, by attribute of ``SharedModel``."""
        key = fingerprint.hex()
        with self._lock:
            old = self._models.get(key) or SharedModel(key, prefix)
            new = {name: getattr(old, name) + count for name, count in counts.items()}
            self._models[key] = replace(old, prefix=prefix, restores=old.restores + 1, **new)

    def fell_back(self, prefix: str, reason: str) -> None:
        """Count one restore without; warn when it is the first for that reason."""
        with self._lock:
            reason = self._bounded(self._fallbacks, reason)
            self._fallbacks[reason] += 1
            news = self._is_news(reason)
        if news:
            log.warning("%s is loaded without sharing: %s", prefix, reason)

    def read(self, prefix: str, reason: str, tensors: int, *, expected: bool) -> None:
        """Count tensors of an attached model that were not mapped; warn unless ``expected``."""
        with self._lock:
            self._read[reason] += tensors
            news = not expected and self._is_news(reason)
        if news:
            log.warning("%d tensors of %s are not shared: %s", tensors, prefix, reason)

    def report(self) -> Report:
        """The counts so far."""
        with self._lock:
            return Report(tuple(self._models.values()), dict(self._fallbacks), dict(self._read))

    def _is_news(self, reason: str) -> bool:
        if reason in self._warned:
            return False
        self._warned.add(reason)
        return True

    @staticmethod
    def _bounded(counts: Counter[str], reason: str) -> str:
        return reason if reason in counts or len(counts) < _MOST_REASONS else _OTHER
