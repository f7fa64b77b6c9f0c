"""Events: one for each decision, told to the log, the metrics, and whoever watches."""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tetris.errors import ConflictError, TetrisError
from tetris.v1 import tetris_pb2 as pb
from tetrisd.clock import Clock

Kind = pb.Event
# Why a lease ended, and why a model went.
RELEASED, DIED = "released", "its holder died"
EXPIRED, ROOM, COLLECTED, ASKED = "expired", "room", "collected", "asked"
Listener = Callable[[pb.Event], object]

# Events that a watcher may be behind before it loses the oldest, and watchers of one tenant.
_BACKLOG = 1000
_WATCHERS = 16


class Events:
    """Where decisions are said. Listeners are called at once, by whoever decides: they are quick.

    Args:
        clock: when it happened, for people.

    Attributes:
        began_unix_ns: when this was made: the daemon's start.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.began_unix_ns = clock.wall_ns()
        self._mutex = threading.Lock()
        self._listeners: tuple[Listener, ...] = ()

    def listen(self, listener: Listener) -> None:
        """Have ``listener`` called with every event from now on."""
        with self._mutex:
            self._listeners += (listener,)

    def say(self, kind: pb.Event.Kind, tenant: str = "", **details: object) -> None:
        """Tell everybody.

        Args:
            kind: what was decided.
            tenant: whose business it is; empty: the host's.
            details: other fields of ``tetris.v1.Event``.
        """
        fields: dict[str, Any] = {name: _clean(value) for name, value in details.items()}
        event = pb.Event(kind=kind, at_unix_ns=self._clock.wall_ns(), tenant=tenant, **fields)
        for listener in self._listeners:
            listener(event)

    def end(self) -> None:
        """Nothing more will be said: every watcher's wait is over."""
        for listener in self._listeners:
            if isinstance(listener, Watcher):
                listener.end()

    @contextmanager
    def watch(self, tenant: str | None) -> Iterator[Watcher]:
        """Collect events for one watcher.

        Args:
            tenant: only this one's; None: all.

        Raises:
            ConflictError: too many watch already.
        """
        watcher = Watcher(tenant)
        with self._mutex:
            others = [each for each in self._listeners if isinstance(each, Watcher)]
            if sum(each.tenant == tenant for each in others) >= _WATCHERS:
                raise ConflictError(f"{_WATCHERS} watch already: end one of them")
            self._listeners += (watcher,)
        try:
            yield watcher
        finally:
            with self._mutex:
                self._listeners = tuple(each for each in self._listeners if each is not watcher)


class Watcher:
    """What one watcher has not taken yet; one that is slow loses the oldest, and is told so."""

    def __init__(self, tenant: str | None) -> None:
        self.tenant = tenant
        self._changed = threading.Condition()
        self._events: deque[pb.Event] = deque()
        self._lost = 0
        self._ended = False

    def __call__(self, event: pb.Event) -> None:
        """Keep an event, if it is this watcher's business."""
        if self.tenant in (None, event.tenant):
            with self._changed:
                if len(self._events) == _BACKLOG:
                    self._events.popleft()
                    self._lost += 1
                self._events.append(event)
                self._changed.notify()

    def end(self) -> None:
        """Take nothing more: what :meth:`events` waits for will not come."""
        with self._changed:
            self._ended = True
            self._changed.notify()

    def events(self) -> Iterator[pb.Event]:
        """Every event as it comes, until :meth:`end`."""
        while (event := self._next()) is not None:
            yield event

    def _next(self) -> pb.Event | None:
        with self._changed:
            self._changed.wait_for(lambda: self._events or self._ended)
            if self._ended:
                return None
            if self._lost:
                lost, self._lost = self._lost, 0
                at = self._events[0].at_unix_ns
                return pb.Event(kind=Kind.EVENTS_LOST, at_unix_ns=at, nbytes=lost)
            return self._events.popleft()


def _clean(value: object) -> object:
    """A name from the file system may hold bytes that are no UTF-8, which protobuf refuses."""
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value


def error_name(failed: TetrisError) -> str:
    """The kind of an error as events and metrics have it: ``NoSpaceError`` is ``no_space``."""
    name = type(failed).__name__.removesuffix("Error")
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
