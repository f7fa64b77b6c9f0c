"""Versions of what works together."""

from __future__ import annotations

import argparse
import platform

import tetris
from tetris.cli.answer import Answer
from tetris.cli.checks import software
from tetris.cli.tables import Column, Moment, Table
from tetris.errors import TetrisError
from tetris.rpc import Rpc
from tetris.v1 import tetris_pb2 as pb

# Seconds that a daemon has to tell.
_PATIENCE = 2.0


def version(arguments: argparse.Namespace) -> Answer:
    """Of the client, of the daemon if it answers, and of TensorFlow, which is not imported."""
    daemon, said = _daemon(arguments)
    tensorflow = software.tensorflow(None).sentence
    python = platform.python_version()
    data = {
        "client": tetris.__version__,
        "daemon": daemon,
        "tensorflow": tensorflow,
        "python": python,
    }
    rows = [
        ("client", tetris.__version__),
        ("daemon", said),
        ("tensorflow", tensorflow),
        ("python", python),
    ]
    return Answer(data, Table((Column("", least=10), Column("", least=20)), rows))


def _daemon(arguments: argparse.Namespace) -> tuple[str | None, str]:
    try:
        rpc = Rpc(arguments.socket)
        stats = rpc.call("GetStats", pb.GetStatsRequest(), timeout=_PATIENCE)
    except TetrisError as failed:
        return None, str(failed)
    return stats.version, f"{stats.version}, since {Moment(stats.started_unix_ns)}"
