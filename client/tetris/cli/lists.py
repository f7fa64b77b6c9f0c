"""Models, segments and leases: of one tenant on its socket, of all on the administrators'."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NamedTuple

from tetris.cli.answer import Answer
from tetris.cli.tables import Column, Moment, Table, duration, size
from tetris.cli.terminal import CYAN, YELLOW, Mark
from tetris.rpc import AdminRpc, Rpc
from tetris.v1 import admin_pb2, tetris_pb2

Row = dict[str, Any]

TENANT = Column("TENANT", least=8)
PINNED = Mark("pinned", CYAN)
PENDING = Mark("pending", YELLOW)


class Listing(NamedTuple):
    """Something that the daemon lists.

    Attributes:
        call: ``List…`` of a tenant, ``ListTenant…`` of the administrators.
        own: request of the first.
        every: request of the second.
        field: of its answers, which has what the first answers.
        row: one of them for programs.
        cells: the same as a line of a table.
        columns: of that table.
    """

    call: str
    own: Callable[[], Any]
    every: Callable[[], Any]
    field: str
    row: Callable[[Any], Row]
    cells: Callable[[Row], tuple[object, ...]]
    columns: tuple[Column, ...]


def rows(arguments: argparse.Namespace, listing: Listing) -> list[Row]:
    """What is there; of all tenants each row says whose it is."""
    if not arguments.all_tenants:
        rpc = Rpc(arguments.socket)
        return rpc.collect(f"List{listing.call}", listing.own(), listing.row)
    return AdminRpc(arguments.admin_socket).collect(
        f"ListTenant{listing.call}",
        listing.every(),
        lambda m: {"tenant": m.tenant, **listing.row(getattr(m, listing.field))},
    )


def command(listing: Listing) -> Callable[[argparse.Namespace], Answer]:
    """The command that shows a listing."""

    def run(arguments: argparse.Namespace) -> Answer:
        found = rows(arguments, listing)
        if not arguments.all_tenants:
            return Answer(found, Table(listing.columns, [listing.cells(row) for row in found]))
        cells = [(row["tenant"], *listing.cells(row)) for row in found]
        return Answer(found, Table((TENANT, *listing.columns), cells))

    return run


def model_row(m: tetris_pb2.ModelSummary) -> Row:
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


def stays(row: Row) -> str:
    """How long a model does: in use, pinned, or for the time that is left to it."""
    left = max(0, row["keep_alive_seconds"] - row["idle_seconds"])
    return PINNED if row["pinned"] else "in use" if row["leases"] else duration(left)


def _model_cells(row: Row) -> tuple[object, ...]:
    return (
        row["name"],
        row["fingerprint"],
        row["tensors"],
        size(row["bytes"]),
        row["leases"],
        stays(row),
        Moment(row["published_unix_ns"]),
    )


def _segment_row(s: tetris_pb2.Segment) -> Row:
    return {
        "digest": s.digest.hex(),
        "bytes": s.nbytes,
        "referenced": s.referenced,
        "models": s.models,
        "fingerprints": [f.hex() for f in s.fingerprints],
        "since_unix_ns": s.since_unix_ns,
    }


def _segment_cells(row: Row) -> tuple[object, ...]:
    return (
        row["digest"],
        size(row["bytes"]),
        row["models"],
        "yes" if row["referenced"] else "no",
        Moment(row["since_unix_ns"]),
    )


def _lease_row(lease: tetris_pb2.Lease) -> Row:
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


def _lease_cells(row: Row) -> tuple[object, ...]:
    return (
        row["id"],
        row["model"],
        row["pid"],
        row["host"],
        PENDING if row["state"] == PENDING else row["state"],
        Moment(row["since_unix_ns"]),
        row["command"],
    )


MODELS = Listing(
    "Models",
    tetris_pb2.ListModelsRequest,
    admin_pb2.ListTenantModelsRequest,
    "model",
    model_row,
    _model_cells,
    (
        Column("MODEL", least=24),
        Column("FINGERPRINT", digits=12, spare=1),
        Column("TENSORS", right=True, spare=1),
        Column("SIZE", right=True),
        Column("LEASES", right=True),
        Column("STAYS"),
        Column("PUBLISHED", spare=2),
    ),
)
SEGMENTS = Listing(
    "Segments",
    tetris_pb2.ListSegmentsRequest,
    admin_pb2.ListTenantSegmentsRequest,
    "segment",
    _segment_row,
    _segment_cells,
    (
        Column("SEGMENT", digits=12),
        Column("SIZE", right=True),
        Column("MODELS", right=True),
        Column("REFERENCED"),
        Column("SINCE", spare=1),
    ),
)
LEASES = Listing(
    "Leases",
    tetris_pb2.ListLeasesRequest,
    admin_pb2.ListTenantLeasesRequest,
    "lease",
    _lease_row,
    _lease_cells,
    (
        Column("LEASE", digits=12, spare=2),
        Column("MODEL", least=16),
        Column("PID", right=True),
        Column("HOST", least=10),
        Column("STATE"),
        Column("SINCE", spare=1),
        Column("COMMAND", least=16),
    ),
)
