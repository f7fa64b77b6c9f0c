"""Exit codes: the one table of them."""

from __future__ import annotations

from typing import NamedTuple

from tetris.errors import InvalidModelError, NotFoundError, TetrisError, UnavailableError

FAILED, DAMAGED, TO_FIX, INTERRUPTED = 1, 6, 7, 130


class Exit(NamedTuple):
    """A code, what it means, and the error that ends with it, if one does."""

    code: int
    meaning: str
    error: type[TetrisError] | None = None


EXITS = (
    Exit(0, "done"),
    Exit(FAILED, "the daemon refused, something failed, or a name fits several", TetrisError),
    Exit(2, "wrong usage"),
    Exit(3, "no daemon answers", UnavailableError),
    Exit(4, "no such model or tenant", NotFoundError),
    Exit(5, "the model's files are wrong or damaged", InvalidModelError),
    Exit(DAMAGED, "`verify` found damage"),
    Exit(TO_FIX, "`doctor` found something to fix"),
    Exit(INTERRUPTED, "interrupted"),
)


def code_of(failed: TetrisError) -> int:
    """The code of an error: that of its nearest class in the table."""
    codes = {row.error: row.code for row in EXITS}
    return next(codes[kind] for kind in type(failed).__mro__ if kind in codes)
