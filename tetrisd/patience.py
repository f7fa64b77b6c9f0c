"""Giving up on a peer that stands still: a call that waits for it holds a thread meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def patience(
    seconds: float,
    give_up: Callable[[], object],
    now: Callable[[], float] = time.monotonic,
) -> Iterator[Callable[[], None]]:
    """Call ``give_up``, once and from another thread, after ``seconds`` without a sign of life.

    Yields:
        What to call with every sign of life.
    """
    last = now()
    done = threading.Event()

    def sign() -> None:
        nonlocal last
        last = now()

    def watch() -> None:
        while (left := last + seconds - now()) > 0:
            if done.wait(left):
                return
        give_up()

    watcher = threading.Thread(target=watch, name="patience", daemon=True)
    watcher.start()
    try:
        yield sign
    finally:
        done.set()
        watcher.join()
