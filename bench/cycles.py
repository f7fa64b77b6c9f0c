"""Publish, attach, release, evict a model of 500 MB again and again: all memory comes back."""

from __future__ import annotations

import os
import statistics
from pathlib import Path

import grpc

import memory
import tetris
from figures import Figure
from host import Daemon, scratch
from synthetic import checkpoint
from tetris.v1 import admin_pb2 as pb
from tetris.v1.admin_pb2_grpc import AdminStub

TENSORS, NBYTES = 20, 25_000_000
CYCLES = int(os.environ.get("CYCLES", "100"))
# Before these the daemon has not yet made the threads and buffers that it keeps.
WARM = 3


def _use(model: Path, socket: Path) -> bytes:
    """Publish and attach, read a byte of every page, release; the fingerprint."""
    tetris.publish(model, socket=socket)
    with tetris.attach(model, socket=socket) as attached:
        for array in attached.values():
            array.view("uint8")[::4096].sum()
        return attached.manifest.fingerprint


def _evict(admin: Path, fingerprint: bytes) -> None:
    with grpc.insecure_channel(f"unix:{admin}") as channel:
        request = pb.ModelRequest(tenant="default", model=fingerprint.hex())
        answer = AdminStub(channel).Evict(request, timeout=60)
    assert answer.removed, f"the model has {answer.leases} leases"


def measure() -> list[Figure]:
    """The daemon's private bytes and the tmpfs after every cycle, the last against the first."""
    private, held = [], []
    with scratch() as directory:
        admin = directory / "admin" / "admin.sock"
        model = checkpoint(directory / "models", TENSORS, NBYTES)
        with Daemon(directory, directory / "models", f"--admin-socket={admin}") as daemon:
            before = memory.occupied(daemon.root)
            for _ in range(WARM + CYCLES):
                _evict(admin, _use(model, daemon.socket))
                private.append(memory.private(daemon.process.pid))
                held.append(memory.occupied(daemon.root))
    return _figures(before, held, private[WARM - 1 :])


def _figures(before: int, held: list[int], private: list[int]) -> list[Figure]:
    what = f"{CYCLES} times publish, attach, evict {TENSORS * NBYTES / 1e6:.0f} MB"
    left = (max(held) - before) / (TENSORS * NBYTES)
    # A single look may fall into a moment at which malloc has not given something back yet.
    first, last = statistics.median(private[:10]), statistics.median(private[-10:])
    return [
        Figure(
            f"{what}: most bytes left on the tmpfs after a cycle, against the model",
            left,
            "x",
            at_most=0.02,
            detail=f"{before:,} before, {held[-1]:,} at the end",
        ),
        Figure(
            f"{what}: the daemon's private bytes, end against start",
            last / first,
            "x",
            at_most=1.02,
            detail=f"{first:,.0f} in the first ten after {WARM}, {last:,.0f} in the last ten",
        ),
    ]
