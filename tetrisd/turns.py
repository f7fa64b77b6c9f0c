"""Taking turns: of several threads that would do the same work, one leads and the others wait."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager

from tetris.errors import ConflictError, UnavailableError

# How often a waiting thread looks whether it is still wanted.
_LOOK_SECONDS = 0.5


class Turn:
    """The leader's end. Call :meth:`progress` with every bit of work done."""

    def __init__(self, now: Callable[[], float], on_lost: Callable[[], object]) -> None:
        self._now = now
        self.on_lost = on_lost
        self.last_progress = now()
        self.lost = False

    def progress(self) -> None:
        """Say that work goes on.

        Raises:
            ConflictError: it was idle for too long and somebody else took over.
        """
        if self.lost:
            raise ConflictError("publishing stood still for too long: another publisher took over")
        self.last_progress = self._now()


class Turns:
    """One leader per key; a leader that makes no progress for ``idle_seconds`` loses its turn."""

    def __init__(self, now: Callable[[], float], idle_seconds: float) -> None:
        self._now = now
        self._idle_seconds = idle_seconds
        self._changed = threading.Condition()
        self._leaders: dict[Hashable, Turn] = {}

    @contextmanager
    def lead(
        self,
        key: Hashable,
        *,
        wanted: Callable[[], bool] = lambda: True,
        on_lost: Callable[[], object] = lambda: None,
    ) -> Iterator[Turn]:
        """Wait for the turn on ``key`` and hold it.

        The one before may have done the work: look again inside.

        Args:
            key: what the work is about.
            wanted: whether the caller still waits for it.
            on_lost: called once, from another thread, when the turn is taken away.

        Raises:
            UnavailableError: nobody wants it any more.
        """
        turn = Turn(self._now, on_lost)
        with self._changed:
            while (leader := self._leaders.get(key)) is not None:
                idle = self._now() - leader.last_progress
                if idle >= self._idle_seconds:
                    leader.lost = True
                    leader.on_lost()
                    break
                if not wanted():
                    raise UnavailableError("the caller went away while it waited")
                self._changed.wait(min(_LOOK_SECONDS, self._idle_seconds - idle))
            turn.last_progress = self._now()
            self._leaders[key] = turn
        try:
            yield turn
        finally:
            with self._changed:
                if self._leaders.get(key) is turn:
                    del self._leaders[key]
                self._changed.notify_all()
