"""What is resident, what was asked for, and what that saves: of a tenant or of the host."""

from __future__ import annotations

from dataclasses import dataclass

from tetris.manifest import Manifest


@dataclass(frozen=True, slots=True)
class SegmentInfo:
    """One resident segment.

    Attributes:
        referenced: somebody maps it now.
        models: fingerprints of those that name it.
        since_unix_ns: when the oldest of these models was published.
    """

    digest: bytes
    nbytes: int
    referenced: bool
    models: list[bytes]
    since_unix_ns: int


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One published model: its leases, how long it stays unused, how long it has been; seconds."""

    manifest: Manifest
    leases: int
    keep_alive: float
    idle: float


@dataclass(frozen=True, slots=True)
class Stats:
    """The saving in one record; sizes in bytes.

    Attributes:
        references: segments that somebody maps now.
        asked: the sum over leases of their model's distinct bytes: what private copies would take.
        huge_pages: whether segments get them.
        limit: what may be resident; 0: no limit.
        charged: what counts against the limit.
        started_unix_ns: when the daemon began.
        quarantined: segments found damaged and taken out, still kept.
    """

    models: int
    segments: int
    leases: int
    references: int
    resident: int
    asked: int
    huge_pages: bool
    limit: int
    charged: int
    started_unix_ns: int
    quarantined: int = 0

    @property
    def saved(self) -> int:
        """What private copies would take on top; never below 0."""
        return max(0, self.asked - self.resident)
