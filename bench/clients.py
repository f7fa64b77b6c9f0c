"""Many clients at once: 64 processes attach and release one model as fast as they can.

``SECONDS=600 python bench/run.py clients`` does it for longer. What must hold is that nobody is
refused and that nothing grows; the rates say what the daemon can do.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import memory
from figures import Figure
from host import Daemon, scratch
from synthetic import checkpoint
from tetris.client import Client
from tetris.formats import locate
from tetris.model import Model

CLIENTS, TENSORS, NBYTES = 64, 50, 64 << 10
SECONDS = float(os.environ.get("SECONDS", "60"))
# What is compared with the end is the daemon as it is once it has met every client.
WARM = SECONDS / 6
# In a process of its own: the parent of the clients must fork them before it has used gRPC.
PUBLISH = "import sys, tetris; tetris.publish(sys.argv[1], socket=sys.argv[2])"


@dataclass
class Record:
    """What one client saw: seconds of every attach and release, and what it was refused with."""

    attach: list[float] = field(default_factory=list)
    release: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)


def _client(socket: Path, fingerprint: bytes, end: float) -> Record:
    record, client = Record(), Client(socket)
    while (started := time.monotonic()) < end:
        try:
            model = Model(client.attach(fingerprint), client.release)
            arrays = list(model.values())
            attached = time.monotonic()
            del arrays
            model.release()
        except Exception as failed:
            record.errors[f"{type(failed).__name__}: {failed}"[:200]] += 1
            continue
        record.attach.append(attached - started)
        record.release.append(time.monotonic() - attached)
    return record


@dataclass(frozen=True)
class Look:
    """The daemon at one moment."""

    at: float
    private: int
    tmpfs: int
    descriptors: int
    threads: int


def _look(daemon: Daemon, started: float) -> Look:
    proc = Path(f"/proc/{daemon.process.pid}")
    return Look(
        time.monotonic() - started,
        memory.private(daemon.process.pid),
        memory.occupied(daemon.root),
        len(os.listdir(proc / "fd")),
        len(os.listdir(proc / "task")),
    )


def _load(daemon: Daemon, fingerprint: bytes, clients: int, seconds: float) -> Run:
    """``clients`` at once for ``seconds``, and a look at the daemon every half second."""
    with multiprocessing.get_context("fork").Pool(clients) as pool:
        started = time.monotonic()
        client = partial(_client, daemon.socket, fingerprint)
        pending = pool.map_async(client, [started + seconds] * clients, chunksize=1)
        looks = [_look(daemon, started)]
        while not pending.ready():
            looks.append(_look(daemon, started))
            pending.wait(0.5)
        return Run(clients, seconds, pending.get(), looks)


@dataclass
class Run:
    """One measurement."""

    clients: int
    seconds: float
    records: Sequence[Record]
    looks: Sequence[Look]

    @property
    def rate(self) -> float:
        """Attaches, each with its release, in a second."""
        return sum(len(r.attach) for r in self.records) / self.seconds

    def milliseconds(self, kind: str, percent: int) -> float:
        """A percentile of the latency of all clients."""
        every = [s for r in self.records for s in getattr(r, kind)]
        return statistics.quantiles(every, n=100)[percent - 1] * 1000

    def growth(self, what: str) -> tuple[float, str]:
        """The last tenth of the run against one after the warming up, and both in words."""
        tenth = self.seconds / 10
        first, last = (
            statistics.median(getattr(x, what) for x in self.looks if low <= x.at < low + tenth)
            for low in (WARM, self.seconds - tenth)
        )
        return last / first, f"{first:,.0f} after {WARM:.0f} s, {last:,.0f} at the end"


def measure() -> list[Figure]:
    """One client alone, then all of them."""
    with scratch() as directory:
        prefix = checkpoint(directory / "models", TENSORS, NBYTES)
        with Daemon(directory, directory / "models") as daemon:
            subprocess.run([sys.executable, "-c", PUBLISH, prefix, daemon.socket], check=True)
            fingerprint = locate(str(prefix)).fingerprint
            idle = memory.occupied(daemon.root)
            alone = _load(daemon, fingerprint, 1, WARM)
            many = _load(daemon, fingerprint, CLIENTS, SECONDS)
            left = memory.occupied(daemon.root) - idle
    return [*_speed(alone, many), *_steadiness(many, left)]


def _speed(alone: Run, many: Run) -> Iterator[Figure]:
    what = f"{CLIENTS} clients attach, map {TENSORS} tensors, release"
    yield Figure(
        f"{what}: rate against one client",
        many.rate / alone.rate,
        "x",
        at_least=1,
        detail=f"{many.rate:,.0f} /s against {alone.rate:,.0f} /s",
    )
    counts = [len(r.attach) for r in many.records]
    yield Figure(
        f"{what}: the least served client against the mean",
        min(counts) / statistics.mean(counts),
        "x",
        at_least=0.8,
        detail=f"{min(counts):,} against {statistics.mean(counts):,.0f} times",
    )
    for kind in ("attach", "release"):
        half, most = many.milliseconds(kind, 50), many.milliseconds(kind, 99)
        single = alone.milliseconds(kind, 50)
        yield Figure(
            f"{what}: {kind}, p99 against p50",
            most / half,
            "x",
            at_most=5,
            detail=f"{most:.1f} ms against {half:.1f} ms; alone {single:.2f} ms",
        )


def _steadiness(many: Run, left: int) -> Iterator[Figure]:
    errors = sum((r.errors for r in many.records), Counter[str]())
    what = f"{CLIENTS} clients for {SECONDS:.0f} s"
    detail = "; ".join(f"{n} times {text}" for text, n in errors.most_common(3))
    yield Figure(f"{what}: errors", errors.total(), "", at_most=0, detail=detail)
    for name, words, most in (
        # gRPC's own threads and malloc's arenas grow a little longer, the more the busier the host.
        ("private", "the daemon's private bytes", 1.1),
        ("tmpfs", "bytes on the tmpfs", 1.02),
        ("descriptors", "the daemon's descriptors", 1.1),  # as many as calls are open just now
        ("threads", "the daemon's threads", 1.1),
    ):
        value, detail = many.growth(name)
        yield Figure(f"{what}: {words}, end against start", value, "x", at_most=most, detail=detail)
    yield Figure(f"{what}: bytes left on the tmpfs afterwards", left, "B", at_most=0)
