"""The daemon's own work: a look every second, and a scrub of every byte now and then."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from tetrisd.store import Store

log = logging.getLogger("tetrisd")

# A look takes at most this share of one core's time: with very many leases it comes less often.
_SHARE = 0.05
_LOOK_SECONDS = 1.0


class Keeper:
    """Two threads beside the servers, from :meth:`start` to :meth:`stop`.

    Args:
        store: what is kept.
        scrub_rate: bytes re-hashed in a second; 0: never.
        scrub_every: seconds between the begins of two scrubs.
    """

    def __init__(self, store: Store, scrub_rate: int, scrub_every: float) -> None:
        self._store = store
        self._scrub_rate = scrub_rate
        self._scrub_every = scrub_every
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._look, name="keeper")]
        if scrub_rate:
            self._threads.append(threading.Thread(target=self._scrub, name="scrub"))

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End, and wait for the end."""
        self._stopping.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def _look(self) -> None:
        pause = _LOOK_SECONDS
        while not self._stopping.wait(pause):
            begin = time.monotonic()
            _whatever_happens(self._store.look)
            pause = max(_LOOK_SECONDS, (time.monotonic() - begin) / _SHARE)

    def _scrub(self) -> None:
        pause = 0.0
        while not self._stopping.wait(pause):
            begin = time.monotonic()
            _whatever_happens(self._scrub_once)
            pause = max(1.0, begin + self._scrub_every - time.monotonic())

    def _scrub_once(self) -> None:
        for checked in self._store.verify(self._pace):
            for finding in checked.findings:
                log.error("%s %s", finding.subject, finding.fault)
            if self._stopping.is_set():
                return

    def _pace(self, nbytes: int) -> None:
        self._stopping.wait(nbytes / self._scrub_rate)


def _whatever_happens(work: Callable[[], None]) -> None:
    """A failed look is logged, and the next one comes all the same."""
    try:
        work()
    except Exception:
        log.exception("%s failed", work.__name__)
