"""What a terminal can show: its width, its colours, and text that cannot harm it."""

from __future__ import annotations

import io
import os
import shutil
import sys
import unicodedata
from typing import NamedTuple, TextIO

RED, GREEN, YELLOW, CYAN = "31", "32", "33", "36"

# A pipe, a file or a terminal that does not tell: what everything fits.
_COLUMNS = 80


class Mark(str):
    """A word in a colour: a state that should catch the eye."""

    __slots__ = ("colour",)
    colour: str

    def __new__(cls, word: str, colour: str) -> Mark:
        """The word, which elsewhere is like any other."""
        mark = super().__new__(cls, word)
        mark.colour = colour
        return mark


class Screen(NamedTuple):
    """What output goes to.

    Attributes:
        width: columns that a line of a table may take.
        wide: show everything, however wide it is.
        colour: it shows colours.
        unicode: it shows more than ASCII.
    """

    width: int = _COLUMNS
    wide: bool = False
    colour: bool = False
    unicode: bool = True

    @property
    def ellipsis(self) -> str:
        """Stands for what was cut."""
        return "…" if self.unicode else "~"

    def paint(self, text: str, word: object) -> str:
        """``text`` in the colour of ``word``, if it is a mark."""
        colour = getattr(word, "colour", None)
        return f"\x1b[{colour}m{text}\x1b[0m" if colour and self.colour else text


def screen_of(stream: TextIO, *, wide: bool = False) -> Screen:
    """The screen behind a stream: colour on a terminal only, and not against NO_COLOR."""
    terminal = stream.isatty()
    width = shutil.get_terminal_size((_COLUMNS, 24)).columns if terminal else _COLUMNS
    return Screen(
        sys.maxsize if wide else width,
        wide,
        terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb",
        (stream.encoding or "ascii").lower().replace("-", "") == "utf8",
    )


def forgiving(stream: TextIO) -> None:
    """Let ``stream`` take any text: what its encoding lacks is escaped."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")


def cells(text: str) -> int:
    """Columns that printable text takes at most."""
    return len(text) + sum(unicodedata.east_asian_width(c) in "WF" for c in text)


def cut(text: str, width: int, ellipsis: str) -> str:
    """``text`` in at most ``width`` columns: its middle goes, since both ends tell names apart."""
    if cells(text) <= width:
        return text
    room = max(0, width - cells(ellipsis))
    tail = _start(text[::-1], room // 2)[::-1]
    return (_start(text, room - cells(tail)) + ellipsis + tail)[: max(0, width)]


def fit(text: str, width: int, ellipsis: str) -> str:
    """``text`` in exactly ``width`` columns."""
    text = cut(text, width, ellipsis)
    return text + " " * (width - cells(text))


def _start(text: str, width: int) -> str:
    """As much of the beginning as ``width`` columns take."""
    for end, c in enumerate(text):
        width -= cells(c)
        if width < 0:
            return text[:end]
    return text
