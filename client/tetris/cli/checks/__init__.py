"""What `tetrisctl doctor` looks at: each check is one small function that finds one thing.

A check takes the surroundings and returns what it found, or None where it does not apply. It may
neither change anything nor rely on a daemon, on root or on any other check.
"""

from __future__ import annotations

from typing import NamedTuple

OK, NOTE, WARNING, FAILURE = "ok", "note", "warning", "failure"


class Finding(NamedTuple):
    """What a check found.

    Attributes:
        level: ``ok``; ``note``: good to know; ``warning``: works, worse than it could; ``failure``.
        sentence: what is so.
        fix: the command that changes it; empty when there is nothing to do.
    """

    level: str
    sentence: str
    fix: str = ""


def ok(sentence: str) -> Finding:
    """All is well."""
    return Finding(OK, sentence)


def note(sentence: str, fix: str = "") -> Finding:
    """Good to know."""
    return Finding(NOTE, sentence, fix)


def warning(sentence: str, fix: str) -> Finding:
    """It works, and worse than it could."""
    return Finding(WARNING, sentence, fix)


def failure(sentence: str, fix: str) -> Finding:
    """Sharing does not work."""
    return Finding(FAILURE, sentence, fix)
