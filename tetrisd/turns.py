"""Taking turns: of several threads that would do the same work, one leads and the others wait."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager

from tetris.errors import ConflictError

# How often a waiting thread looks whether it is still wanted.
_LOOK_SECONDS = 0.5


class Turns:
    """One leader per key."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._led: set[Hashable] = set()

    @contextmanager
    def lead(self, key: Hashable, wanted: Callable[[], bool]) -> Iterator[None]:
        """Wait for the turn on ``key`` and hold it.

        The one before may have done the work: look again inside.

        Args:
            key: what the work is about.
            wanted: whether the caller still waits for it.

        Raises:
            ConflictError: nobody wants it any more.
        """
        with self._changed:
            while key in self._led:
                if not wanted():
                    raise ConflictError("given up while waiting for another publisher")
                self._changed.wait(_LOOK_SECONDS)
            self._led.add(key)
        try:
            yield
        finally:
            with self._changed:
                self._led.discard(key)
                self._changed.notify_all()
