"""Events: one for each decision, told to the log, the metrics, and whoever watches."""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tetris.errors import ConflictError, TetrisError
from tetris.manifest import Manifest
from tetris.status import details_of
from tetris.v1 import tetris_pb2 as pb
from tetrisd.clock import Clock

Kind = pb.Event
# Why a lease ended, and why a model went.
RELEASED, DIED = "released", "its holder died"
EXPIRED, ROOM, COLLECTED, ASKED = "expired", "room", "collected", "asked"
# In the place of an error's kind: the client of a publish went, or the daemon stopped.
ABANDONED = "abandoned"
# Why a client loaded a model without sharing.
FALLBACKS = tuple(name.lower() for name in pb.ReportFallbackRequest.Reason.keys()[1:])
Listener = Callable[[pb.Event], object]

# Events that a watcher may be behind before it loses the oldest, and watchers of one tenant.
_BACKLOG = 1000
_WATCHERS = 16
# Of a text: a client may send a name of many megabytes, and a backlog keeps it.
_LONGEST = 4096


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
        self._watchers: tuple[Watcher, ...] = ()

    def listen(self, listener: Listener) -> None:
        """Have ``listener`` called with every event from now on."""
        with self._mutex:
            self._listeners += (listener,)

    def say(
        self,
        kind: pb.Event.Kind,
        tenant: str = "",
        *,
        own_nbytes: int | None = None,
        **details: object,
    ) -> None:
        """Tell everybody.

        Args:
            kind: what was decided.
            tenant: whose business it is; empty: the host's.
            own_nbytes: what the tenant is told for ``nbytes``, where that would tell it what others
                have.
            details: other fields of ``tetris.v1.Event``.
        """
        fields: dict[str, Any] = {name: _clean(value) for name, value in details.items()}
        event = pb.Event(kind=kind, at_unix_ns=self._clock.wall_ns(), tenant=tenant, **fields)
        for listener in self._listeners:
            listener(event)
        own = pb.Event()
        own.CopyFrom(event)
        if own_nbytes is not None:
            own.nbytes = own_nbytes
        for watcher in self._watchers:
            watcher.take(event if watcher.tenant is None else own)

    def end(self, tenant: str | None = None) -> None:
        """Nothing more will be said: every watcher's wait is over, or that of one tenant's."""
        for watcher in self._watchers:
            if tenant in (None, watcher.tenant):
                watcher.end()

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
            if sum(each.tenant == tenant for each in self._watchers) >= _WATCHERS:
                raise ConflictError(f"{_WATCHERS} watch already: end one of them")
            self._watchers += (watcher,)
        try:
            yield watcher
        finally:
            with self._mutex:
                self._watchers = tuple(each for each in self._watchers if each is not watcher)


class Voice:
    """Says the events of one tenant."""

    def __init__(self, events: Events, tenant: str) -> None:
        self._events = events
        self._tenant = tenant

    def say(self, kind: pb.Event.Kind, **details: Any) -> None:
        """Tell everybody: see :meth:`Events.say`."""
        self._events.say(kind, self._tenant, **details)

    def of(self, kind: pb.Event.Kind, manifest: Manifest, **details: Any) -> None:
        """Something about a published model."""
        self.say(kind, model=manifest.name, fingerprint=manifest.fingerprint, **details)

    def refused(
        self, kind: pb.Event.Kind, refused: TetrisError, *, abandoned: bool = False, **details: Any
    ) -> None:
        """Something that did not come to be; ``abandoned``: nobody waits for it any more."""
        error = ABANDONED if abandoned else error_name(type(refused))
        self.say(kind, reason=details_of(refused), error=error, **details)


class Watcher:
    """What one watcher has not taken yet; one that is slow loses the oldest, and is told so."""

    def __init__(self, tenant: str | None) -> None:
        self.tenant = tenant
        self._changed = threading.Condition()
        self._events: deque[pb.Event] = deque()
        self._lost = 0
        self._ended = False

    def take(self, event: pb.Event) -> None:
        """Keep an event, if it is this watcher's business."""
        if self.tenant in (None, event.tenant):
            with self._changed:
                if len(self._events) == _BACKLOG:
                    self._events.popleft()
                    self._lost += 1
                self._events.append(event)
                self._changed.notify()

    def end(self) -> None:
        """What comes after what has come already is not waited for any more."""
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
            if not self._events:
                return None
            if self._lost:
                lost, self._lost = self._lost, 0
                at = self._events[0].at_unix_ns
                return pb.Event(kind=Kind.EVENTS_LOST, at_unix_ns=at, nbytes=lost)
            return self._events.popleft()


def _clean(value: object) -> object:
    """A name from the file system may hold bytes that are no UTF-8, which protobuf refuses."""
    if not isinstance(value, str):
        return value
    return value[:_LONGEST].encode(errors="backslashreplace").decode()


def error_name(kind: type[TetrisError]) -> str:
    """A kind of error as events and metrics have it: ``NoSpaceError`` is ``no_space``."""
    name = kind.__name__.removesuffix("Error")
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def error_names(root: type[TetrisError] = TetrisError) -> list[str]:
    """Every name that :func:`error_name` can give."""
    below = [name for kind in root.__subclasses__() for name in error_names(kind)]
    return [error_name(root), *below]


def change_of(*, pinned: bool | None = None, keep_alive: float | None = None) -> str:
    """The reason of a change: what it is."""
    if pinned is not None:
        return "pinned" if pinned else "unpinned"
    return "the daemon's keep-alive" if keep_alive is None else f"keep-alive {keep_alive:.0f} s"
