"""A bar on standard error while work takes long, if somebody is there to see it."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO, TypeAlias

from tetris.cli.tables import size
from tetris.cli.terminal import cut, fit, screen_of
from tetris.errors import TetrisError
from tetris.rpc import Rpc
from tetris.text import printable
from tetris.v1 import tetris_pb2 as pb

# Takes the bytes that are done, and how many there are.
Show: TypeAlias = Callable[[int, int], None]

_BAR = 16
_TITLE = 16
# Seconds between two questions how far a publish is, and for which an answer is awaited.
_EVERY = 0.2
_PATIENCE = 2.0


@contextmanager
def bar(title: str, stream: TextIO | None = None) -> Iterator[Show]:
    """A bar that is gone at the end, however that comes; without a terminal there is none."""
    stream = stream or sys.stderr
    if not stream.isatty():
        yield lambda done, total: None
        return
    begun = time.monotonic()
    screen = screen_of(stream)

    def show(done: int, total: int) -> None:
        line = _line(title, done, total, time.monotonic() - begun, screen.unicode)
        # One column is left, or some terminals go on to the next line.
        stream.write(f"\r{cut(line, screen.width - 1, screen.ellipsis)}\x1b[K")
        stream.flush()

    try:
        yield show
    finally:
        stream.write("\r\x1b[K")
        stream.flush()


@contextmanager
def watched(rpc: Rpc, fingerprint: bytes, show: Show) -> Iterator[None]:
    """Show how far the daemon is with a model, while it works on it."""
    if not sys.stderr.isatty():
        yield
        return
    over = threading.Event()
    thread = threading.Thread(target=_watch, args=(rpc, fingerprint, show, over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _watch(rpc: Rpc, fingerprint: bytes, show: Show, over: threading.Event) -> None:
    # A daemon of before it knew that call is no reason to fail: there is no bar then.
    with suppress(TetrisError):
        while not over.wait(_EVERY):
            with rpc.stub() as stub:
                for p in stub.ListPublishes(pb.ListPublishesRequest(), timeout=_PATIENCE):
                    if p.fingerprint == fingerprint and not over.is_set():
                        show(p.bytes_done, p.bytes_total)


def _line(title: str, done: int, total: int, seconds: float, unicode: bool) -> str:
    """``vgg16/1  █████████░░░░░░░  57%  302.5 MiB of 528.0 MiB, 1.1 GiB/s``."""
    part = min(1.0, done / total) if total else 0.0
    full = round(part * _BAR)
    solid, light = ("█", "░") if unicode else ("#", "-")
    name = fit(printable(title), _TITLE, "…" if unicode else "~")
    rate = size(int(done / seconds)) if seconds > 0 else size(0)
    return (
        f"{name}  {solid * full}{light * (_BAR - full)} "
        f"{part:4.0%}  {size(done)} of {size(total)}, {rate}/s"
    )
