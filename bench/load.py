"""Loading VGG16 with ``tf.saved_model.load``: stock and sharing processes taking turns."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import tetris
from figures import Figure
from host import Daemon, scratch
from instance import Instance
from models import MODELS, ensure

ROUNDS = 5
Facts = dict[str, Any]


def _run(runtime: str, path: Path, socket: Path | None = None) -> Facts:
    with Instance(runtime, path, socket) as instance:
        return instance.facts


def _rounds(
    path: Path, socket_for: Callable[[], AbstractContextManager[Path]], rounds: int
) -> tuple[list[Facts], list[Facts]]:
    """Facts of stock and of sharing processes, one of each in turn."""
    stock, shared = [], []
    for _ in range(rounds):
        stock.append(_run("stock", path))
        with socket_for() as socket:
            shared.append(_run("tetris", path, socket))
    return stock, shared


def _ratio(stock: list[Facts], shared: list[Facts]) -> float:
    return statistics.median(s["load_s"] / o["load_s"] for o, s in zip(stock, shared, strict=True))


def _times(stock: list[Facts], shared: list[Facts]) -> str:
    a, b = (statistics.median(x["load_s"] for x in y) for y in (shared, stock))
    return f"{a:.2f} s against {b:.2f} s"


def measure(rounds: int = ROUNDS) -> list[Figure]:
    """Both ways, and the private memory that a load adds."""
    path = ensure("vgg16", MODELS)
    for file in path.rglob("*"):
        if file.is_file():  # into the page cache: what is measured is not the disk
            file.read_bytes()
    with scratch() as directory, Daemon(directory, MODELS) as daemon:
        tetris.publish(path, socket=daemon.socket)

        @contextmanager
        def published():
            yield daemon.socket

        warm = _rounds(path, published, rounds)

    @contextmanager
    def empty():
        with scratch() as directory, Daemon(directory, MODELS) as fresh:
            yield fresh.socket

    cold = _rounds(path, empty, rounds)
    outputs = {f["output"] for side in (*warm, *cold) for f in side}
    growth = statistics.median(f["growth"] for f in warm[1]) / 1e6
    stock_growth = statistics.median(f["growth"] for f in warm[0]) / 1e6
    return [
        Figure(
            "VGG16 load, published already, against stock",
            _ratio(*warm),
            "x",
            at_most=0.20,
            detail=_times(*warm),
        ),
        Figure(
            "the same, private growth",
            growth,
            "MB",
            at_most=16,
            detail=f"stock {stock_growth:.0f} MB",
        ),
        Figure(
            "VGG16 load, nothing published, publishing included, against stock",
            _ratio(*cold),
            "x",
            at_most=1.0,
            detail=_times(*cold),
        ),
        Figure("VGG16, distinct outputs over all of these runs", len(outputs), "", at_most=1),
    ]
