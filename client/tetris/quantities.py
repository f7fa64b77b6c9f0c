"""Sizes, durations and modes as people write them."""

from __future__ import annotations

import re

_NUMBER = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")
_BYTES = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def nbytes(text: str) -> int:
    """``"1.5GiB"`` in bytes; a bare number is bytes."""
    return int(_scaled(text, _BYTES))


def seconds(text: str) -> float:
    """``"10m"`` in seconds; a bare number is seconds."""
    return _scaled(text, _SECONDS)


def mode(text: str) -> int:
    """An octal file mode, without the bits above the nine."""
    found = int(text, 8)
    if not 0 <= found <= 0o777:
        raise ValueError(f"{text} is no mode")
    return found


def _scaled(text: str, units: dict[str, int]) -> float:
    match = _NUMBER.fullmatch(text.strip())
    if match is None or match[2] not in units:
        raise ValueError(f"{text!r} is no number with one of the units {', '.join(units)}")
    return float(match[1]) * units[match[2]]
