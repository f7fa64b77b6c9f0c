"""A daemon that was killed, until it answers again: on an empty root and on a full one."""

from __future__ import annotations

import socket
import statistics
import time
from pathlib import Path
from typing import NamedTuple

import memory
import tetris
from figures import Figure
from host import Daemon, scratch
from synthetic import checkpoint
from tetris.attachment import Attachment
from tetris.client import Client
from tetris.formats import locate
from tetris.rpc import Rpc
from tetris.v1 import tetris_pb2 as pb

MODELS, TENSORS, NBYTES = 20, 500, 4096
LEASES = 1000
ROUNDS = 5


def _answers(path: Path) -> None:
    """Wait until a connection is taken, and for the answer to one call: there is no such lease."""
    while True:
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(path)) == 0:
                break
        time.sleep(0.001)
    try:
        Rpc(path).call("Release", pb.ReleaseRequest(lease="none"))
    except tetris.errors.NotFoundError:
        return


class Start(NamedTuple):
    """From the start of the process to its first answer, in seconds."""

    wall: float
    cpu: float


def _restart(daemon: Daemon) -> Start:
    started = time.perf_counter()
    daemon.start()
    _answers(daemon.socket)
    return Start(time.perf_counter() - started, memory.cpu_seconds(daemon.process.pid))


def _fill(directory: Path, daemon: Daemon) -> list[Attachment]:
    """Publish every model; the leases of as many clients, all held."""
    client = Client(daemon.socket)
    held: list[Attachment] = []
    for number in range(MODELS):
        model = checkpoint(directory / "models" / str(number), TENSORS, NBYTES)
        tetris.publish(model, socket=daemon.socket)
        fingerprint = locate(str(model)).fingerprint
        held += [client.attach(fingerprint) for _ in range(LEASES // MODELS)]
    return held


def measure(rounds: int = ROUNDS) -> list[Figure]:
    """Kill and start, on both roots in turn; half of the leases die with the first kill."""
    empty, full = [], []
    with scratch() as directory:
        for name in ("empty", "full"):
            (directory / name / "models").mkdir(parents=True)
        with (
            Daemon(directory / "empty", directory / "empty" / "models") as without,
            Daemon(directory / "full", directory / "full" / "models") as daemon,
        ):
            held = _fill(directory / "full", daemon)
            daemon.kill()
            del held[::2]
            first = _restart(daemon)
            for _ in range(rounds):
                for one, times in ((without, empty), (daemon, full)):
                    one.kill()
                    times.append(_restart(one))
    return _figures(first, _median(empty), _median(full))


def _median(starts: list[Start]) -> Start:
    return Start(*map(statistics.median, zip(*starts, strict=True)))


def _figures(first: Start, empty: Start, full: Start) -> list[Figure]:
    what = f"kill -9 and start with {MODELS * TENSORS:,} segments"
    detail = (
        f"{full.cpu:.2f} s of computing; an empty root takes {empty.wall:.2f} s "
        f"and {empty.cpu:.2f} s of computing"
    )
    return [
        Figure(f"{what}: until the first answer", full.wall, "s", at_most=1, detail=detail),
        Figure(
            f"the same, with {LEASES} leases of which half have died",
            first.wall,
            "s",
            at_most=1,
            detail=f"{first.cpu:.2f} s of computing",
        ),
    ]
