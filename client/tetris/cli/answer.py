"""What a command found, for programs and for people; rows that several commands print."""

from __future__ import annotations

from typing import Any, NamedTuple

from tetris.cli.tables import Body, Column, Table, duration, size, when
from tetris.cli.terminal import CYAN, RED, YELLOW, Mark
from tetris.v1 import tetris_pb2 as pb


class Answer(NamedTuple):
    """What a command found.

    Attributes:
        data: what ``--json`` prints.
        text: for people: a sentence, a table, or several of them.
        status: exit status.
    """

    data: Any
    text: Body
    status: int = 0


# Where there is no room, a time goes first, then what only programs need.
MODEL_COLUMNS = (
    Column("MODEL", least=16),
    Column("FINGERPRINT", digits=12, spare=1),
    Column("TENSORS", right=True),
    Column("SIZE", right=True),
    Column("LEASES", right=True),
    Column("STAYS"),
    Column("PUBLISHED", spare=2),
)
LEASE_COLUMNS = (
    Column("LEASE", digits=12, spare=2),
    Column("MODEL", least=16),
    Column("PID", right=True),
    Column("HOST", least=10),
    Column("STATE"),
    Column("SINCE", spare=1),
    Column("COMMAND", least=20),
)
PINNED = Mark("pinned", CYAN)
PENDING = Mark("pending", YELLOW)


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
    stays = PINNED if row["pinned"] else "in use" if row["leases"] else duration(left)
    return (
        row["name"],
        row["fingerprint"],
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
        PENDING if row["state"] == PENDING else row["state"],
        when(row["since_unix_ns"]),
        row["command"],
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
    rows: list[tuple[object, object]] = [
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
        rows.append(("damaged", Mark(f"{s.segments_quarantined} segments, taken out", RED)))
    return Answer(data, Table(("", ""), rows))
