"""What only the admin socket answers: one function a command."""

from __future__ import annotations

import argparse

from tetris.cli.answer import Answer
from tetris.cli.exits import DAMAGED
from tetris.cli.lists import TENANT, model_row
from tetris.cli.progress import bar
from tetris.cli.stat import tenant_row
from tetris.cli.tables import Column, Table, counted, duration, size
from tetris.cli.terminal import RED, Mark
from tetris.rpc import AdminRpc
from tetris.v1 import admin_pb2 as pb

_TENANT_COLUMNS = (
    TENANT,
    ">MODELS",
    ">LEASES",
    ">CHARGED",
    ">QUOTA",
    "SHARING",
    Column("SOCKET", least=12),
)


def tenants(arguments: argparse.Namespace) -> Answer:
    """Every tenant, and what it holds."""
    rows = _rpc(arguments).collect("ListTenants", pb.ListTenantsRequest(), tenant_row)
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
    return Answer(
        data, f"{arguments.model}: in use by {counted(done.leases, 'lease')}, goes with the last"
    )


def gc(arguments: argparse.Namespace) -> Answer:
    """Remove whatever nobody uses."""
    done = _rpc(arguments).call("CollectGarbage", pb.CollectGarbageRequest())
    data = {"models": done.models, "segments": done.segments, "bytes_freed": done.bytes_freed}
    return Answer(
        data,
        f"{counted(done.models, 'model')} and {counted(done.segments, 'segment')} removed, "
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
    lines: list[str | Table] = [
        *done.changed,
        *(f"{line} (needs a restart)" for line in done.needs_restart),
    ]
    return Answer(data, lines or "nothing is different")


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
    lines.append(f"{size(checked)} verified, {counted(len(findings), 'finding')}")
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
