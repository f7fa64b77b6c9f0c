"""The saving in one screen: of a tenant, or of the host with the part of each tenant."""

from __future__ import annotations

import argparse
from typing import Any

from tetris.cli.answer import Answer
from tetris.cli.lists import TENANT
from tetris.cli.tables import Column, Moment, Table, size
from tetris.cli.terminal import RED, Mark
from tetris.rpc import AdminRpc, Rpc
from tetris.v1 import admin_pb2, tetris_pb2

# Columns that the larger of "asked for" and "resident" takes as a bar.
_BAR = 40
_SHARES = (
    TENANT,
    ">ASKED FOR",
    ">RESIDENT",
    ">FAIR SHARE",
    ">CHARGED",
    Column("QUOTA", right=True),
)


def stat(arguments: argparse.Namespace) -> Answer:
    """What sharing saves."""
    stats = ask(arguments)
    if not arguments.all_tenants:
        return Answer(row(stats), _screen(stats))
    tenants = AdminRpc(arguments.admin_socket).collect(
        "ListTenants", admin_pb2.ListTenantsRequest(), tenant_row
    )
    shares = Table(_SHARES, [_share(each) for each in tenants])
    return Answer({**row(stats), "tenants": tenants}, [*_screen(stats), "", shares])


def ask(arguments: argparse.Namespace) -> tetris_pb2.GetStatsResponse:
    """The numbers: of the host, or of a tenant."""
    if arguments.all_tenants:
        rpc = AdminRpc(arguments.admin_socket)
        answer = rpc.call("GetHostStats", admin_pb2.GetHostStatsRequest())
    else:
        answer = Rpc(arguments.socket).call("GetStats", tetris_pb2.GetStatsRequest())
    stats: tetris_pb2.GetStatsResponse = answer
    return stats


def tenant_row(t: admin_pb2.TenantSummary) -> dict[str, Any]:
    """A tenant."""
    return {
        "name": t.name,
        "socket": t.socket,
        "sharing": t.sharing,
        "models": t.models,
        "leases": t.leases,
        "bytes_asked": t.bytes_asked,
        "bytes_resident": t.bytes_resident,
        "bytes_fair_share": t.bytes_fair_share,
        "bytes_charged": t.bytes_charged,
        "bytes_quota": t.bytes_quota,
    }


def row(s: tetris_pb2.GetStatsResponse) -> dict[str, Any]:
    """The numbers for programs."""
    return {
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
        "version": s.version,
        "started_unix_ns": s.started_unix_ns,
    }


def _screen(s: tetris_pb2.GetStatsResponse) -> list[str | Table]:
    limit = size(s.bytes_limit) if s.bytes_limit else "no limit"
    lines: list[tuple[object, object]] = [
        ("models", s.models),
        ("leases", s.leases),
        ("segments", f"{s.segments}, {s.references} referenced"),
        ("charged", f"{size(s.bytes_charged)} of {limit}"),
        ("huge pages", "in effect" if s.huge_pages else "not in effect"),
    ]
    if s.segments_quarantined:
        lines.append(("damaged", Mark(f"{s.segments_quarantined} segments, taken out", RED)))
    if s.version:
        up = f"{s.version}, since {Moment(s.started_unix_ns)}"
        lines.append(("daemon", up))
    return [saving(s), "", Table((Column("", least=10), Column("", least=20)), lines)]


def saving(s: tetris_pb2.GetStatsResponse) -> Table:
    """What was asked for, what is resident, and the difference."""
    most = max(s.bytes_asked, s.bytes_resident, 1)
    part = f"{s.bytes_saved / s.bytes_asked:.0%} of what was asked for" if s.bytes_saved else ""
    rows = [
        ("asked for", size(s.bytes_asked), "#" * round(_BAR * s.bytes_asked / most)),
        ("resident", size(s.bytes_resident), "#" * round(_BAR * s.bytes_resident / most)),
        ("saved", size(s.bytes_saved), part),
    ]
    return Table((Column("", least=10), Column("", right=True), Column("", spare=1)), rows)


def _share(row: dict[str, Any]) -> tuple[object, ...]:
    sizes = ("bytes_asked", "bytes_resident", "bytes_fair_share", "bytes_charged")
    quota = size(row["bytes_quota"]) if row["bytes_quota"] else "none"
    return (row["name"], *(size(row[name]) for name in sizes), quota)
