"""Aligned tables, sizes and times for people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime


def size(nbytes: int) -> str:
    """``1536`` as ``1.5 KiB``."""
    amount = float(nbytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def when(unix_ns: int) -> str:
    """A local time to the second."""
    return datetime.fromtimestamp(unix_ns / 1e9).isoformat(sep=" ", timespec="seconds")


def duration(seconds: float) -> str:
    """``605`` as ``10m 5s``; the two largest units."""
    parts = []
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, seconds = divmod(int(seconds), length)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2]) or "0s"


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns under their heads; a head that starts with ``>`` is aligned to the right."""
    texts = [[h.removeprefix(">") for h in heads], *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in texts) for i in range(len(heads))]
    right = [h.startswith(">") for h in heads]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in texts
    )
