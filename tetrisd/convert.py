"""What the store says, as protobuf: for the tenants' servicers and the administrators'."""

from __future__ import annotations

from tetris import __version__
from tetris.v1 import tetris_pb2 as pb
from tetrisd.leases import Lease
from tetrisd.publish import Publishing
from tetrisd.stats import ModelInfo, SegmentInfo, Stats


def model_to_wire(info: ModelInfo) -> pb.ModelSummary:
    """One published model."""
    manifest = info.manifest
    return pb.ModelSummary(
        fingerprint=manifest.fingerprint,
        name=manifest.name,
        published_unix_ns=manifest.published_unix_ns,
        tensors=len(manifest.tensors),
        nbytes=manifest.nbytes,
        leases=info.leases,
        pinned=manifest.pinned,
        keep_alive_seconds=int(info.keep_alive),
        idle_seconds=int(info.idle),
    )


def segment_to_wire(info: SegmentInfo) -> pb.Segment:
    """One resident segment."""
    return pb.Segment(
        digest=info.digest,
        nbytes=info.nbytes,
        referenced=info.referenced,
        models=len(info.models),
        fingerprints=info.models,
        since_unix_ns=info.since_unix_ns,
    )


def publishing_to_wire(publishing: Publishing) -> pb.Publishing:
    """One publish under way."""
    return pb.Publishing(
        fingerprint=publishing.fingerprint,
        name=publishing.name,
        bytes_done=publishing.done,
        bytes_total=publishing.total,
        since_unix_ns=publishing.since_unix_ns,
    )


def lease_to_wire(lease: Lease) -> pb.Lease:
    """One lease."""
    return pb.Lease(
        id=lease.id,
        fingerprint=lease.fingerprint,
        model=lease.model,
        holder=pb.Holder(pid=lease.pid, command=lease.command, host=lease.host),
        since_unix_ns=lease.since_unix_ns,
        pending=lease.pending,
    )


def stats_to_wire(stats: Stats) -> pb.GetStatsResponse:
    """The numbers."""
    return pb.GetStatsResponse(
        models=stats.models,
        segments=stats.segments,
        leases=stats.leases,
        references=stats.references,
        bytes_resident=stats.resident,
        bytes_asked=stats.asked,
        bytes_saved=stats.saved,
        huge_pages=stats.huge_pages,
        bytes_limit=stats.limit,
        bytes_charged=stats.charged,
        segments_quarantined=stats.quarantined,
        version=__version__,
        started_unix_ns=stats.started_unix_ns,
    )
