"""The daemon's own work: a look every second, and a scrub of every byte now and then."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from tetrisd.events import Kind
from tetrisd.store import Store

log = logging.getLogger("tetrisd")

# A look takes at most this share of one core's time: with very many leases it comes less often.
_SHARE = 0.05
_LOOK_SECONDS = 1.0
# Between the end of a scrub and the next begin, at least.
_SCRUB_PAUSE = 1.0


@dataclass(slots=True)
class Scrub:
    """How far the scrub is: bytes of the running one, and of those that ended.

    Attributes:
        ended_unix: seconds since 1970; 0: none has ended yet.
        findings: of all since the start.
    """

    done: int = 0
    total: int = 0
    running: bool = False
    read: int = 0
    ended_unix: float = 0.0
    findings: int = 0


class Keeper:
    """Two threads beside the servers, from :meth:`start` to :meth:`stop`.

    Args:
        store: what is kept.
        alive: told every second that the work goes on, unless a look hangs, which takes every lock
            that the work of others takes.

    Attributes:
        scrub: how far it is.
        look_seconds: what the last look took.
        looked_unix: when it ended; 0: none has.
    """

    def __init__(self, store: Store, alive: Callable[[], None] = lambda: None) -> None:
        self._store = store
        self._alive = alive
        self._scrub_rate = 0
        self._scrub_every = 0.0
        self.scrub = Scrub()
        self.look_seconds = 0.0
        self.looked_unix = 0.0
        self._stopping = threading.Event()
        self._configured = threading.Event()
        self._threads = [
            threading.Thread(target=self._look, name="keeper"),
            threading.Thread(target=self._scrubs, name="scrub"),
        ]

    def configure(self, scrub_rate: int, scrub_every: float) -> None:
        """Scrub like this from now on.

        Args:
            scrub_rate: bytes re-hashed in a second; 0: never.
            scrub_every: seconds between the begins of two scrubs.
        """
        self._scrub_rate = scrub_rate
        self._scrub_every = scrub_every
        self._configured.set()

    @property
    def scrub_every(self) -> float:
        """Seconds between the begins of two scrubs; 0: there are none."""
        return self._scrub_every if self._scrub_rate else 0.0

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End, and wait for the end."""
        self._stopping.set()
        self._configured.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def _look(self) -> None:
        pause = 0.0
        while not self._stopping.wait(_LOOK_SECONDS):
            pause -= _LOOK_SECONDS
            if pause <= 0:
                begin = time.monotonic()
                _whatever_happens(self._store.look)
                self.look_seconds = time.monotonic() - begin
                self.looked_unix = time.time()
                pause = self.look_seconds / _SHARE
            self._alive()

    def _scrubs(self) -> None:
        last = -math.inf
        while True:
            self._configured.clear()
            if self._stopping.is_set():  # asked after: stop() sets both, and the clear may eat one
                return
            wait = last + self._scrub_every - time.monotonic() if self._scrub_rate else None
            if wait is None or wait > 0:
                self._configured.wait(wait)
                continue
            last = time.monotonic()
            _whatever_happens(self._scrub_once)
            self._stopping.wait(_SCRUB_PAUSE)

    def _scrub_once(self) -> None:
        begin, findings = time.monotonic(), 0
        self.scrub.running = True
        try:
            for checked in self._store.verify(self._pace):
                self.scrub.done, self.scrub.total = checked.done, checked.total
                for finding in checked.findings:
                    log.error("%s %s", finding.subject, finding.fault)
                findings += len(checked.findings)
                self.scrub.findings += len(checked.findings)
                if self._stopping.is_set() or not self._scrub_rate:
                    return
        finally:
            self.scrub.running = False
        self.scrub.ended_unix = time.time()
        self._store.events.say(
            Kind.SCRUB_ENDED,
            nbytes=self.scrub.done,
            seconds=time.monotonic() - begin,
            reason=f"{findings} findings",
        )

    def _pace(self, nbytes: int) -> None:
        self.scrub.read += nbytes
        rate = self._scrub_rate
        if rate:
            self._stopping.wait(nbytes / rate)


def _whatever_happens(work: Callable[[], None]) -> None:
    """A failed look is logged, and the next one comes all the same."""
    try:
        work()
    except Exception:
        log.exception("%s failed", work.__name__)
