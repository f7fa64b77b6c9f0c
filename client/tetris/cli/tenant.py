"""What a tenant's socket answers: one function a command."""

from __future__ import annotations

import argparse

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
from tetris.cli.progress import bar, watched
from tetris.cli.tables import Column, Table, size, when
from tetris.client import Client
from tetris.formats.model import locate
from tetris.rpc import Rpc
from tetris.v1 import tetris_pb2 as pb

_SEGMENT = Column("SEGMENT", digits=12)
_TENSOR_COLUMNS = (Column("TENSOR", least=16), "DTYPE", Column("SHAPE", least=8), ">SIZE", _SEGMENT)


def publish(arguments: argparse.Namespace) -> Answer:
    """Make a model resident."""
    client, files = Client(arguments.socket), locate(arguments.path)
    with bar(files.name) as show, watched(client.rpc, files.fingerprint, show):
        manifest = client.publish(files, ends_with_call=True)
    data = {
        "fingerprint": manifest.fingerprint.hex(),
        "name": manifest.name,
        "tensors": len(manifest.tensors),
        "segments": len(manifest.segments),
        "bytes": manifest.nbytes,
    }
    return Answer(
        data,
        f"{manifest.name}: {len(manifest.tensors)} tensors in {len(manifest.segments)} segments, "
        f"{size(manifest.nbytes)}, fingerprint {manifest.fingerprint.hex()[:12]}",
    )


def models(arguments: argparse.Namespace) -> Answer:
    """What is published."""
    rows = Rpc(arguments.socket).collect(
        "ListModels",
        pb.ListModelsRequest(),
        model_row,
    )
    return Answer(rows, Table(MODEL_COLUMNS, [model_cells(r) for r in rows]))


def show(arguments: argparse.Namespace) -> Answer:
    """One model's tensors."""
    answer = Rpc(arguments.socket).call("GetModel", pb.GetModelRequest(model=arguments.model))
    manifest = answer.manifest
    tensors = [
        {
            "name": t.name,
            "dtype": t.dtype,
            "shape": list(t.shape),
            "bytes": t.nbytes,
            "digest": t.digest.hex(),
        }
        for t in manifest.tensors
    ]
    data = {
        "fingerprint": manifest.fingerprint.hex(),
        "name": manifest.name,
        "published_unix_ns": manifest.published_unix_ns,
        "tensors": tensors,
    }
    head = f"{manifest.name}, published {when(manifest.published_unix_ns)}"
    rows = [
        (
            t["name"],
            t["dtype"],
            "x".join(map(str, t["shape"])) or "scalar",
            size(t["bytes"]),
            t["digest"] or "-",
        )
        for t in tensors
    ]
    return Answer(data, [head, Table(_TENSOR_COLUMNS, rows)])


def segments(arguments: argparse.Namespace) -> Answer:
    """What is resident."""
    rows = Rpc(arguments.socket).collect(
        "ListSegments",
        pb.ListSegmentsRequest(),
        lambda s: {
            "digest": s.digest.hex(),
            "bytes": s.nbytes,
            "referenced": s.referenced,
            "models": s.models,
        },
    )
    cells = [
        (r["digest"], size(r["bytes"]), r["models"], "yes" if r["referenced"] else "no")
        for r in rows
    ]
    return Answer(rows, Table((_SEGMENT, ">SIZE", ">MODELS", "REFERENCED"), cells))


def leases(arguments: argparse.Namespace) -> Answer:
    """Who uses what."""
    rows = Rpc(arguments.socket).collect(
        "ListLeases",
        pb.ListLeasesRequest(),
        lease_row,
    )
    return Answer(rows, Table(LEASE_COLUMNS, [lease_cells(r) for r in rows]))


def stat(arguments: argparse.Namespace) -> Answer:
    """What sharing saves."""
    return stat_answer(Rpc(arguments.socket).call("GetStats", pb.GetStatsRequest()))
