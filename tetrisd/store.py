"""The store: what the daemon can do. It knows nothing of gRPC; the clock is passed in."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from tetris.errors import InvalidModelError
from tetris.manifest import Manifest
from tetris.shm import DIGEST_SIZE
from tetris.v1 import tetris_pb2 as pb
from tetrisd.leases import Lease, Leases
from tetrisd.models import Models
from tetrisd.publish import Publisher
from tetrisd.root import Root
from tetrisd.segments import Segments
from tetrisd.sources import Source
from tetrisd.turns import Turns

log = logging.getLogger("tetrisd")


@dataclass(frozen=True, slots=True)
class SegmentInfo:
    """One resident segment: who names it, and whether anybody maps it now."""

    digest: bytes
    nbytes: int
    referenced: bool
    models: int


@dataclass(frozen=True, slots=True)
class Stats:
    """The saving in one record; sizes in bytes.

    Attributes:
        references: segments that somebody maps now.
        asked: the sum over leases of their model's distinct bytes: what private copies would take.
        saved: ``asked - resident``, never below 0.
        limit: size of the tmpfs.
    """

    models: int
    segments: int
    leases: int
    references: int
    resident: int
    asked: int
    saved: int
    huge_pages: bool
    limit: int


class Store:
    """Everything under one root."""

    def __init__(
        self,
        root: Root,
        *,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._root = root
        self._segments = Segments(root)
        self._models = Models(root)
        self._leases = Leases(root, now_ns)
        self._publisher = Publisher(self._segments, self._models, Turns(), now_ns)

    def recover(self) -> None:
        """Read back what an earlier daemon left, and sweep what it did not finish."""
        resident = dict(self._segments.resident())
        self._models.load(resident)
        wanted = {d: n for m in self._models.all() for d, n in m.segments.items()}
        drafts, stray = self._segments.sweep(wanted)
        self._leases.sweep()
        log.info(
            "%s: %d models in %d segments; swept %d half-written and %d unnamed segments",
            self._root.path,
            len(self._models.all()),
            len(wanted),
            drafts,
            stray,
        )

    def publish(
        self,
        source: Source,
        *,
        wanted: Callable[[], bool] = lambda: True,
    ) -> tuple[Manifest, bool]:
        """See :meth:`tetrisd.publish.Publisher.publish`."""
        _check_fingerprint(source.fingerprint)
        return self._publisher.publish(source, wanted=wanted)

    def attach(
        self, fingerprint: bytes, pid: int, command: str, host: str
    ) -> tuple[Lease, Manifest]:
        """Write a pending lease on a published model.

        Raises:
            NotFoundError: it is not published.
        """
        _check_fingerprint(fingerprint)
        manifest = self._models.get(fingerprint)
        return self._leases.create(fingerprint, manifest.name, pid, command, host), manifest

    def release(self, lease: str) -> bool:
        """See :meth:`tetrisd.leases.Leases.release`."""
        return self._leases.release(lease)

    def view(self) -> str:
        """The directory of the tenant's segments, as this process sees it."""
        return str(self._root.view_path)

    def model(self, text: str) -> Manifest:
        """See :meth:`tetrisd.models.Models.lookup`."""
        return self._models.lookup(text)

    def wire(self, manifest: Manifest) -> pb.Manifest:
        """See :meth:`tetrisd.models.Models.wire`."""
        return self._models.wire(manifest)

    def models(self) -> list[tuple[Manifest, int]]:
        """Every published model, with the number of its leases."""
        leases = Counter(lease.fingerprint for lease in self._leases.live())
        return [(m, leases[m.fingerprint]) for m in self._models.all()]

    def leases(self) -> list[Lease]:
        """See :meth:`tetrisd.leases.Leases.live`."""
        return self._leases.live()

    def segments(self) -> list[SegmentInfo]:
        """Every resident segment, largest first."""
        found = [
            SegmentInfo(d, n, self._segments.is_referenced(d), self._models.users(d))
            for d, n in self._segments.resident()
        ]
        return sorted(found, key=lambda s: (-s.nbytes, s.digest))

    def stats(self) -> Stats:
        """What is resident, what was asked for, what that saves."""
        segments, leases = self.segments(), self._leases.live()
        sizes = {m.fingerprint: m.nbytes for m in self._models.all()}
        resident = sum(s.nbytes for s in segments)
        asked = sum(sizes.get(lease.fingerprint, 0) for lease in leases)
        return Stats(
            models=len(sizes),
            segments=len(segments),
            leases=len(leases),
            references=sum(s.referenced for s in segments),
            resident=resident,
            asked=asked,
            saved=max(0, asked - resident),
            huge_pages=self._root.huge_pages,
            limit=self._root.capacity(),
        )


def _check_fingerprint(fingerprint: bytes) -> None:
    if len(fingerprint) != DIGEST_SIZE:
        raise InvalidModelError(f"a fingerprint has {DIGEST_SIZE} bytes, not {len(fingerprint)}")
