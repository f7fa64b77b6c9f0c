"""What a command found, for programs and for people."""

from __future__ import annotations

from typing import Any, NamedTuple

from tetris.cli.tables import Body


class Answer(NamedTuple):
    """What a command found.

    Attributes:
        data: what ``-o json`` prints.
        text: for people: a sentence, a table, or several of them.
        status: exit status.
    """

    data: Any
    text: Body
    status: int = 0
