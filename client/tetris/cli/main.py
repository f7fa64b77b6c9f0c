"""The command line: one function a command, each returning what ``--json`` prints and its table."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tetris.cli.tables import size, table, when
from tetris.errors import (
    InvalidModelError,
    NotFoundError,
    TetrisError,
    UnavailableError,
)
from tetris.rpc import Rpc
from tetris.v1 import tetris_pb2 as pb

# Exit codes, most special first; documented in docs/tetrisctl.md and in --help.
_EXITS: tuple[tuple[type[TetrisError], int], ...] = (
    (UnavailableError, 3),
    (NotFoundError, 4),
    (InvalidModelError, 5),
    (TetrisError, 1),
)
_EPILOG = (
    "exit codes: 0 done; 1 refused or failed; 2 wrong usage; 3 no daemon answers; "
    "4 no such model; 5 the model's files are wrong or damaged; 130 interrupted"
)


class Answer(NamedTuple):
    """What a command found: for programs, and for people."""

    data: Any
    text: str


def _publish(arguments: argparse.Namespace) -> Answer:
    from tetris import publish

    manifest = publish(arguments.path, socket=arguments.socket)
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


def _models(arguments: argparse.Namespace) -> Answer:
    rows = Rpc(arguments.socket).collect(
        "ListModels",
        pb.ListModelsRequest(),
        lambda m: {
            "fingerprint": m.fingerprint.hex(),
            "name": m.name,
            "tensors": m.tensors,
            "bytes": m.nbytes,
            "leases": m.leases,
            "published_unix_ns": m.published_unix_ns,
        },
    )
    return Answer(
        rows,
        table(
            ["MODEL", "FINGERPRINT", ">TENSORS", ">SIZE", ">LEASES", "PUBLISHED"],
            [
                (
                    r["name"],
                    r["fingerprint"][:12],
                    r["tensors"],
                    size(r["bytes"]),
                    r["leases"],
                    when(r["published_unix_ns"]),
                )
                for r in rows
            ],
        ),
    )


def _show(arguments: argparse.Namespace) -> Answer:
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
    head = f"{manifest.name}  {manifest.fingerprint.hex()}  {when(manifest.published_unix_ns)}"
    rows = [
        (
            t["name"],
            t["dtype"],
            "x".join(map(str, t["shape"])) or "scalar",
            size(t["bytes"]),
            t["digest"][:12] or "-",
        )
        for t in tensors
    ]
    return Answer(data, head + "\n" + table(["TENSOR", "DTYPE", "SHAPE", ">SIZE", "SEGMENT"], rows))


def _segments(arguments: argparse.Namespace) -> Answer:
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
        (r["digest"][:12], size(r["bytes"]), r["models"], "yes" if r["referenced"] else "no")
        for r in rows
    ]
    return Answer(rows, table(["SEGMENT", ">SIZE", ">MODELS", "REFERENCED"], cells))


def _leases(arguments: argparse.Namespace) -> Answer:
    rows = Rpc(arguments.socket).collect(
        "ListLeases",
        pb.ListLeasesRequest(),
        lambda lease: {
            "id": lease.id,
            "model": lease.model,
            "fingerprint": lease.fingerprint.hex(),
            "pid": lease.holder.pid,
            "host": lease.holder.host,
            "command": lease.holder.command,
            "since_unix_ns": lease.since_unix_ns,
            "state": "pending" if lease.pending else "held",
        },
    )
    cells = [
        (
            r["id"],
            r["model"],
            r["pid"],
            r["host"],
            r["state"],
            when(r["since_unix_ns"]),
            r["command"][:40],
        )
        for r in rows
    ]
    return Answer(
        rows, table(["LEASE", "MODEL", ">PID", "HOST", "STATE", "SINCE", "COMMAND"], cells)
    )


def _stat(arguments: argparse.Namespace) -> Answer:
    s = Rpc(arguments.socket).call("GetStats", pb.GetStatsRequest())
    data = {
        "models": s.models,
        "segments": s.segments,
        "leases": s.leases,
        "references": s.references,
        "bytes_resident": s.bytes_resident,
        "bytes_asked": s.bytes_asked,
        "bytes_saved": s.bytes_saved,
        "bytes_limit": s.bytes_limit,
        "huge_pages": s.huge_pages,
    }
    rows = [
        ("models", s.models),
        ("leases", s.leases),
        ("segments", f"{s.segments}, {s.references} referenced"),
        ("asked for", size(s.bytes_asked)),
        ("resident", size(s.bytes_resident)),
        ("saved", size(s.bytes_saved)),
        ("tmpfs", size(s.bytes_limit) if s.bytes_limit else "no limit"),
        ("huge pages", "in effect" if s.huge_pages else "not in effect"),
    ]
    return Answer(data, "\n".join(f"{name:<12}{value}" for name, value in rows))


_COMMANDS: tuple[tuple[str, Callable[[argparse.Namespace], Answer], str, str | None], ...] = (
    ("publish", _publish, "make a model's tensors resident", "path"),
    ("models", _models, "what is published", None),
    (
        "show",
        _show,
        "one model's tensors: by name, or first hex digits of its fingerprint",
        "model",
    ),
    ("segments", _segments, "what is resident, largest first", None),
    ("leases", _leases, "who uses what, since when", None),
    ("stat", _stat, "what sharing saves", None),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    given = _parser().parse_args(arguments, argparse.Namespace(socket=None, json=False))
    try:
        answer: Answer = given.run(given)
        print(json.dumps(answer.data, indent=2) if given.json else answer.text, flush=True)  # noqa: T201
    except TetrisError as failed:
        print(f"tetrisctl: {failed}", file=sys.stderr)  # noqa: T201
        return next(code for kind, code in _EXITS if isinstance(failed, kind))
    except BrokenPipeError:
        # The reader, a `head` for one, has seen enough; keep the interpreter from complaining too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    # Both before and after the command; SUPPRESS keeps the second from hiding the first.
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    common.add_argument(
        "--socket", help="the daemon's socket (default: TETRIS_SOCKET, or the system's)"
    )
    common.add_argument("--json", action="store_true", help="print for programs")
    parser = argparse.ArgumentParser(
        prog="tetrisctl",
        description="One copy of every weight per host.",
        epilog=_EPILOG,
        parents=[common],
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, run, text, argument in _COMMANDS:
        command = commands.add_parser(name, help=text, description=text, parents=[common])
        command.set_defaults(run=run)
        if argument:
            command.add_argument(argument)
    return parser
