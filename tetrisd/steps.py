"""Named steps: the moments of a state-changing operation at which a crash must cost nothing.

In production a step does nothing. The fault tests put a function in the place of :func:`reached`
that kills the process at the step of their choice.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


def reached(step: str) -> None:
    """Called, by its name in this module, at every step: ``"publish: sealed"`` for one."""


@contextmanager
def of(operation: str) -> Iterator[None]:
    """Mark an operation's begin and end as steps, whichever way it ends."""
    reached(f"{operation}: begins")
    try:
        yield
    finally:
        reached(f"{operation}: ends")
