"""What only the admin socket answers: one function a command."""

from __future__ import annotations

import argparse
from typing import Any

from tetris.cli.answer import (
    LEASE_COLUMNS,
    MODEL_COLUMNS,
    Answer,
    lease_cells,
    lease_row,
    model_cells,
    model_row,
    stat_answer,
)
from tetris.cli.progress import bar
from tetris.cli.tables import Column, Table, duration, size
from tetris.cli.terminal import RED, Mark
from tetris.rpc import AdminRpc
from tetris.v1 import admin_pb2 as pb

_OF = Column("TENANT", least=8)
_TENANT_COLUMNS = (
    _OF,
    ">MODELS",
    ">LEASES",
    ">CHARGED",
    ">QUOTA",
    "SHARING",
    Column("SOCKET", least=12),
)
# Exit status of a verification that found something.
DAMAGED = 6


def tenants(arguments: argparse.Namespace) -> Answer:
    """Every tenant, and what it holds."""
    rows = _rpc(arguments).collect(
        "ListTenants",
        pb.ListTenantsRequest(),
        lambda t: {
            "name": t.name,
            "socket": t.socket,
            "sharing": t.sharing,
            "models": t.models,
            "leases": t.leases,
            "bytes_charged": t.bytes_charged,
            "bytes_quota": t.bytes_quota,
        },
    )
    cells = [
        (
            r["name"],
            r["models"],
            r["leases"],
            size(r["bytes_charged"]),
            size(r["bytes_quota"]) if r["bytes_quota"] else "none",
            r["sharing"],
            r["socket"],
        )
        for r in rows
    ]
    return Answer(rows, Table(_TENANT_COLUMNS, cells))


def host(arguments: argparse.Namespace) -> Answer:
    """What sharing saves on the whole host."""
    return stat_answer(_rpc(arguments).call("GetHostStats", pb.GetHostStatsRequest()))


def all_models(arguments: argparse.Namespace) -> Answer:
    """What is published, by every tenant."""
    rows = _rpc(arguments).collect(
        "ListTenantModels",
        pb.ListTenantModelsRequest(),
        lambda m: {"tenant": m.tenant, **model_row(m.model)},
    )
    return Answer(rows, Table((_OF, *MODEL_COLUMNS), _with_tenant(rows, model_cells)))


def all_leases(arguments: argparse.Namespace) -> Answer:
    """Who uses what, of every tenant."""
    rows = _rpc(arguments).collect(
        "ListTenantLeases",
        pb.ListTenantLeasesRequest(),
        lambda m: {"tenant": m.tenant, **lease_row(m.lease)},
    )
    return Answer(rows, Table((_OF, *LEASE_COLUMNS), _with_tenant(rows, lease_cells)))


def pin(arguments: argparse.Namespace) -> Answer:
    """Keep a model, used or not."""
    return _changed(arguments, "Pin", "stays until it is unpinned")


def unpin(arguments: argparse.Namespace) -> Answer:
    """Let it go when its time comes."""
    return _changed(arguments, "Unpin", "goes when its time comes")


def keep(arguments: argparse.Namespace) -> Answer:
    """Say how long a model stays while nobody uses it."""
    seconds = None if arguments.seconds is None else int(arguments.seconds)
    request = pb.SetKeepAliveRequest(
        tenant=arguments.tenant, model=arguments.model, seconds=seconds
    )
    answer = _rpc(arguments).call("SetKeepAlive", request).model
    stays = duration(answer.keep_alive_seconds)
    return Answer(model_row(answer), f"{answer.name}: stays {stays} while nobody uses it")


def evict(arguments: argparse.Namespace) -> Answer:
    """Remove a model, now or with its last user."""
    done = _rpc(arguments).call("Evict", _model(arguments))
    data = {"removed": done.removed, "leases": done.leases, "bytes_freed": done.bytes_freed}
    if done.removed:
        return Answer(data, f"{arguments.model}: removed, {size(done.bytes_freed)} freed")
    return Answer(data, f"{arguments.model}: in use by {done.leases} leases, goes with the last")


def gc(arguments: argparse.Namespace) -> Answer:
    """Remove whatever nobody uses."""
    done = _rpc(arguments).call("CollectGarbage", pb.CollectGarbageRequest())
    data = {"models": done.models, "segments": done.segments, "bytes_freed": done.bytes_freed}
    return Answer(
        data,
        f"{done.models} models and {done.segments} segments removed, "
        f"{size(done.bytes_freed)} freed",
    )


def quota(arguments: argparse.Namespace) -> Answer:
    """Give a tenant another quota, until the daemon's next start."""
    done = _rpc(arguments).call(
        "SetQuota", pb.SetQuotaRequest(tenant=arguments.tenant, bytes=arguments.bytes)
    )
    limit = size(arguments.bytes) if arguments.bytes else "no limit"
    data = {"bytes_charged": done.bytes_charged, "bytes_quota": arguments.bytes}
    return Answer(data, f"{arguments.tenant}: {size(done.bytes_charged)} of {limit}")


def reload(arguments: argparse.Namespace) -> Answer:
    """Have the daemon read its settings again."""
    done = _rpc(arguments).call("Reload", pb.ReloadRequest())
    data = {"changed": list(done.changed), "needs_restart": list(done.needs_restart)}
    lines = [*done.changed, *(f"{line} (needs a restart)" for line in done.needs_restart)]
    return Answer(data, "\n".join(lines) or "nothing is different")


def verify(arguments: argparse.Namespace) -> Answer:
    """Compare what is stored with what it must be."""
    request = pb.VerifyRequest()
    if arguments.model:
        request = pb.VerifyRequest(tenant=arguments.tenant, model=arguments.model)
    checked, findings = 0, []
    with _rpc(arguments).stub() as stub, bar("verify") as show:
        for progress in stub.Verify(request):
            checked = progress.bytes_checked
            show(checked, progress.bytes_total)
            findings += [{"subject": f.subject, "fault": f.fault} for f in progress.findings]
    lines: list[str | Table] = [Mark(f"{f['subject']} {f['fault']}", RED) for f in findings]
    lines.append(f"{size(checked)} verified, {len(findings)} findings")
    return Answer(
        {"bytes_checked": checked, "findings": findings},
        lines,
        DAMAGED if findings else 0,
    )


def _rpc(arguments: argparse.Namespace) -> AdminRpc:
    return AdminRpc(arguments.admin_socket)


def _model(arguments: argparse.Namespace) -> pb.ModelRequest:
    return pb.ModelRequest(tenant=arguments.tenant, model=arguments.model)


def _changed(arguments: argparse.Namespace, method: str, what: str) -> Answer:
    answer = _rpc(arguments).call(method, _model(arguments)).model
    return Answer(model_row(answer), f"{answer.name}: {what}")


def _with_tenant(rows: list[dict[str, Any]], cells: Any) -> list[tuple[object, ...]]:
    return [(row["tenant"], *cells(row)) for row in rows]
