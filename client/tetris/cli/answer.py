"""What a command found, for programs and for people; rows that several commands print."""

from __future__ import annotations

from typing import Any, NamedTuple

from tetris.cli.tables import duration, size, when
from tetris.v1 import tetris_pb2 as pb


class Answer(NamedTuple):
    """What a command found.

    Attributes:
        data: what ``--json`` prints.
        text: for people.
        status: exit status.
    """

    data: Any
    text: str
    status: int = 0


MODEL_HEADS = ["MODEL", "FINGERPRINT", ">TENSORS", ">SIZE", ">LEASES", "STAYS", "PUBLISHED"]
LEASE_HEADS = ["LEASE", "MODEL", ">PID", "HOST", "STATE", "SINCE", "COMMAND"]


def model_row(m: pb.ModelSummary) -> dict[str, Any]:
    """A published model."""
    return {
        "fingerprint": m.fingerprint.hex(),
        "name": m.name,
        "tensors": m.tensors,
        "bytes": m.nbytes,
        "leases": m.leases,
        "pinned": m.pinned,
        "keep_alive_seconds": m.keep_alive_seconds,
        "idle_seconds": m.idle_seconds,
        "published_unix_ns": m.published_unix_ns,
    }


def model_cells(row: dict[str, Any]) -> tuple[object, ...]:
    """The same as a line of a table."""
    left = max(0, row["keep_alive_seconds"] - row["idle_seconds"])
    stays = "pinned" if row["pinned"] else "in use" if row["leases"] else duration(left)
    return (
        row["name"],
        row["fingerprint"][:12],
        row["tensors"],
        size(row["bytes"]),
        row["leases"],
        stays,
        when(row["published_unix_ns"]),
    )


def lease_row(lease: pb.Lease) -> dict[str, Any]:
    """A lease."""
    return {
        "id": lease.id,
        "model": lease.model,
        "fingerprint": lease.fingerprint.hex(),
        "pid": lease.holder.pid,
        "host": lease.holder.host,
        "command": lease.holder.command,
        "since_unix_ns": lease.since_unix_ns,
        "state": "pending" if lease.pending else "held",
    }


def lease_cells(row: dict[str, Any]) -> tuple[object, ...]:
    """The same as a line of a table."""
    return (
        row["id"],
        row["model"],
        row["pid"],
        row["host"],
        row["state"],
        when(row["since_unix_ns"]),
        row["command"][:40],
    )


def stat_answer(s: pb.GetStatsResponse) -> Answer:
    """The numbers of a tenant or of the host."""
    data = {
        "models": s.models,
        "segments": s.segments,
        "leases": s.leases,
        "references": s.references,
        "bytes_resident": s.bytes_resident,
        "bytes_asked": s.bytes_asked,
        "bytes_saved": s.bytes_saved,
        "bytes_charged": s.bytes_charged,
        "bytes_limit": s.bytes_limit,
        "segments_quarantined": s.segments_quarantined,
        "huge_pages": s.huge_pages,
    }
    limit = size(s.bytes_limit) if s.bytes_limit else "no limit"
    rows = [
        ("models", s.models),
        ("leases", s.leases),
        ("segments", f"{s.segments}, {s.references} referenced"),
        ("asked for", size(s.bytes_asked)),
        ("resident", size(s.bytes_resident)),
        ("saved", size(s.bytes_saved)),
        ("charged", f"{size(s.bytes_charged)} of {limit}"),
        ("huge pages", "in effect" if s.huge_pages else "not in effect"),
    ]
    if s.segments_quarantined:
        rows.append(("damaged", f"{s.segments_quarantined} segments, taken out"))
    return Answer(data, "\n".join(f"{name:<12}{value}" for name, value in rows))
