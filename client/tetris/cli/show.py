"""One model: its tensors, who shares each, and since when."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from typing import Any

from tetris.cli import lists
from tetris.cli.answer import Answer
from tetris.cli.tables import Column, Moment, Table, counted, size
from tetris.rpc import Rpc
from tetris.v1 import tetris_pb2 as pb

_COLUMNS = (
    Column("TENSOR", least=20),
    Column("DTYPE"),
    Column("SHAPE", least=8),
    Column("SIZE", right=True),
    Column("SHARED WITH", least=14),
    Column("SINCE", spare=1),
    Column("SEGMENT", digits=12, spare=2),
)


def show(arguments: argparse.Namespace) -> Answer:
    """One model's tensors."""
    rpc = Rpc(arguments.socket)
    manifest = rpc.call("GetModel", pb.GetModelRequest(model=arguments.model)).manifest
    fingerprint = manifest.fingerprint.hex()
    request = pb.ListSegmentsRequest(model=fingerprint)
    segments = {s["digest"]: s for s in rpc.collect("ListSegments", request, lists.SEGMENTS.row)}
    models = {m["fingerprint"]: m for m in lists.rows(arguments, lists.MODELS)}
    tensors = [_tensor(t, segments, models, fingerprint) for t in manifest.tensors]
    data = {
        "fingerprint": fingerprint,
        "name": manifest.name,
        "published_unix_ns": manifest.published_unix_ns,
        "tensors": tensors,
    }
    everything = arguments.output == "wide"
    head = _head(data, segments, models, len(models) if everything else 2)
    return Answer(data, [head, "", _table(tensors, len(models) if everything else 1)])


def _tensor(
    t: pb.Tensor, segments: dict[str, lists.Row], models: dict[str, lists.Row], fingerprint: str
) -> dict[str, Any]:
    segment = segments.get(t.digest.hex(), {})
    others = [f for f in segment.get("fingerprints", ()) if f != fingerprint]
    return {
        "name": t.name,
        "dtype": t.dtype,
        "shape": list(t.shape),
        "bytes": t.nbytes,
        "digest": t.digest.hex(),
        "since_unix_ns": segment.get("since_unix_ns", 0),
        "shared_with": [models[f]["name"] for f in others if f in models],
    }


def _head(
    data: dict[str, Any],
    segments: dict[str, lists.Row],
    models: dict[str, lists.Row],
    names: int,
) -> Table:
    model = models.get(data["fingerprint"])
    nbytes = sum(s["bytes"] for s in segments.values())
    shared = sum(s["bytes"] for s in segments.values() if len(s["fingerprints"]) > 1)
    others = Counter(name for t in data["tensors"] for name in t["shared_with"])
    rows = [
        ("model", data["name"]),
        ("fingerprint", data["fingerprint"]),
        ("published", str(Moment(data["published_unix_ns"]))),
        *([("stays", _stays(model))] if model else []),
        ("bytes", f"{size(nbytes)} in {counted(len(segments), 'segment')}"),
        ("shared", _shared(shared, [name for name, _ in others.most_common()], names)),
    ]
    return Table((Column("", least=10), Column("", least=20)), rows)


def _shared(nbytes: int, others: Sequence[str], names: int) -> str:
    return f"{size(nbytes)} with {_some(others, names)}" if nbytes else "nothing"


def _some(names: Sequence[str], most: int) -> str:
    """The first of them, and how many there are besides."""
    left = len(names) - most
    return ", ".join(names[:most]) + (f" +{left}" if left > 0 else "")


def _stays(model: dict[str, Any]) -> str:
    return f"{lists.stays(model)}, {counted(model['leases'], 'lease')}"


def _table(tensors: Sequence[dict[str, Any]], names: int) -> Table:
    count = Counter(t["digest"] for t in tensors if t["digest"])
    rows = [
        (
            t["name"],
            t["dtype"],
            "x".join(map(str, t["shape"])) or "scalar",
            size(t["bytes"]),
            _some([*(["itself"] if count[t["digest"]] > 1 else []), *t["shared_with"]], names),
            Moment(t["since_unix_ns"]),
            t["digest"],
        )
        for t in tensors
    ]
    return Table(_COLUMNS, rows)
