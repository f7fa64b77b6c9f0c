"""Which inputs are worth keeping: few, small, and together as good as all."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

MOST = 200
_MOST_BYTES = 200 << 10


def choose(run: Callable[..., Any], pool: Path) -> list[Path]:
    """The inputs of ``pool`` that reach an edge which no smaller one reaches, then those that reach
    it more often, as long as there is room; named by their content.

    Args:
        run: runs the fuzzer with these arguments. As the inner half of a merge it notes for each
            input what is new with it: ``COV`` for edges, ``FT`` for edges and how often.
        pool: a directory of inputs.
    """
    unique = {path.read_bytes(): path for path in sorted(pool.iterdir())}
    inputs = sorted(unique.values(), key=lambda path: path.stat().st_size)
    control = pool.with_name(pool.name + ".merge")
    control.write_text("\n".join([str(len(inputs)), "0", *map(str, inputs)]) + "\n")
    try:
        run("-merge_inner=1", f"-merge_control_file={control}")
        edges, features = _read(control.read_text().splitlines()[2 + len(inputs) :])
    finally:
        control.unlink()
    chosen, room = [], _MOST_BYTES
    for number in [*sorted(edges), *sorted(features - edges)][:MOST]:
        room -= inputs[number].stat().st_size
        if room < 0:
            break
        digest = hashlib.sha256(inputs[number].read_bytes()).hexdigest()
        chosen.append(inputs[number].rename(pool / digest[:16]))
    return chosen


def _read(lines: list[str]) -> tuple[set[int], set[int]]:
    found: dict[str, set[int]] = {"COV": set(), "FT": set()}
    for line in lines:
        mark, number, *new = line.split()
        if mark in found and new:
            found[mark].add(int(number))
    return found["COV"], found["COV"] | found["FT"]
