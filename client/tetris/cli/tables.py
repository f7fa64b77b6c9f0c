"""Tables that fit their screen; sizes and times for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple, TypeAlias

from tetris.cli.terminal import Screen, cells, cut
from tetris.text import printable

_GAP = "  "


def counted(number: int, noun: str) -> str:
    """``1 model``, ``2 models``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def size(nbytes: int) -> str:
    """``1536`` as ``1.5 KiB``."""
    amount = float(nbytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


class Moment(int):
    """A time in nanoseconds since 1970, for people: the local one, to the second."""

    def __str__(self) -> str:
        return self._local().isoformat(sep=" ", timespec="seconds") if self else ""

    def short(self) -> str:
        """Today's time of day, of another day its date."""
        day, _, time = str(self).partition(" ")
        return time if day == datetime.now().date().isoformat() else day

    def _local(self) -> datetime:
        return datetime.fromtimestamp(self / 1e9)


def duration(seconds: float) -> str:
    """``605`` as ``10m 5s``; the two largest units."""
    parts = []
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, seconds = divmod(int(seconds), length)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2]) or "0s"


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        head: what stands above it.
        right: numbers are aligned to the right.
        least: where there is no room it may be cut to this width; 0: never.
        digits: only so many of its first characters are shown, unless everything is; 0: all.
        spare: where there is no room the columns with the highest go; 0: never.
    """

    head: str
    right: bool = False
    least: int = 0
    digits: int = 0
    spare: int = 0


class Table(NamedTuple):
    """Rows under their heads; without any head, only the rows.

    Attributes:
        columns: a plain word is the head of a column that is never cut; ``>`` aligns it right.
        rows: what stands in them, of any type; a ``Mark`` shows its colour, and of a ``Moment``
            its day or its time is enough, unless everything is shown.
    """

    columns: Sequence[Column | str]
    rows: Sequence[Sequence[object]]

    def lines(self, screen: Screen) -> Iterator[str]:
        """The table as lines that fit the screen."""
        columns = [_column(c) for c in self.columns]
        heads = [[c.head for c in columns]] if any(c.head for c in columns) else []
        rows = [*heads, *self.rows]
        texts = [
            [_text(value, column, screen) for value, column in zip(row, columns, strict=True)]
            for row in rows
        ]
        widths = _fit(columns, texts, screen.width)
        for row, text in zip(rows, texts, strict=True):
            yield _line(columns, row, text, widths, screen)


# What a command says: sentences, one a line, and tables.
Body: TypeAlias = str | Table | Sequence[str | Table]


def render(body: Body, screen: Screen) -> Iterator[str]:
    """The lines of what a command says; no control character in it reaches the screen."""
    for part in [body] if isinstance(body, (str, Table)) else body:
        if isinstance(part, Table):
            yield from part.lines(screen)
        else:
            yield screen.paint(printable(part), part)


def _column(column: Column | str) -> Column:
    if isinstance(column, Column):
        return column
    return Column(column.removeprefix(">"), right=column.startswith(">"))


def _text(value: object, column: Column, screen: Screen) -> str:
    if isinstance(value, Moment) and not screen.wide:
        return value.short()
    text = printable(str(value))
    return text[: column.digits] if column.digits and not screen.wide else text


def _fit(columns: Sequence[Column], texts: Sequence[Sequence[str]], width: int) -> dict[int, int]:
    """The columns that are shown, and their widths."""
    natural = [max((cells(row[i]) for row in texts), default=0) for i in range(len(columns))]
    shown = {
        i: min(full, max(column.least, cells(column.head)) if column.least else full)
        for i, (column, full) in enumerate(zip(columns, natural, strict=True))
    }
    while (room := width - sum(shown.values()) - len(_GAP) * (len(shown) - 1)) < 0:
        spare = max(shown, key=lambda i: columns[i].spare)
        if not columns[spare].spare:
            break
        del shown[spare]
    for i in shown:
        more = min(max(room, 0), natural[i] - shown[i])
        shown[i] += more
        room -= more
    return shown


def _line(
    columns: Sequence[Column],
    row: Sequence[object],
    texts: Sequence[str],
    widths: dict[int, int],
    screen: Screen,
) -> str:
    left = screen.width
    parts = []
    for i, width in widths.items():
        width = max(0, min(width, left))
        text = cut(texts[i], width, screen.ellipsis)
        pad = " " * (width - cells(text))
        painted = screen.paint(text, row[i])
        parts.append(pad + painted if columns[i].right else painted + pad)
        left -= width + len(_GAP)
    return _GAP.join(parts).rstrip()
