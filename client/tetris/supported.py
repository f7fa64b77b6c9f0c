"""Which TensorFlow the restore kernel serves; `pyproject.toml` says the same to pip."""

from __future__ import annotations

import re

OLDEST, NEWEST = (2, 16), (2, 21)
RANGE = f"{OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}"
# For pip, without patch versions.
REQUIREMENT = f"tensorflow-cpu>={OLDEST[0]}.{OLDEST[1]},<{NEWEST[0]}.{NEWEST[1] + 1}"


def serves(version: str) -> bool:
    """Whether sharing works in that version of TensorFlow."""
    found = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    return OLDEST <= found <= NEWEST
