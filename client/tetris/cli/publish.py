"""Make a model resident."""

from __future__ import annotations

import argparse

from tetris.cli.answer import Answer
from tetris.cli.progress import bar, watched
from tetris.cli.tables import counted, size
from tetris.client import Client
from tetris.formats.model import locate


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
        f"{manifest.name}: {counted(len(manifest.tensors), 'tensor')} "
        f"in {counted(len(manifest.segments), 'segment')}, "
        f"{size(manifest.nbytes)}, fingerprint {manifest.fingerprint.hex()[:12]}",
    )
