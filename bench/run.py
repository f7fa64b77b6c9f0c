"""Every published figure: ``python bench/run.py [TOPIC …]`` prints a table and writes JSON."""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path

import machine
from figures import Figure
from tetris.cli.tables import Table, render
from tetris.cli.terminal import screen_of

TOPICS = ("idle", "micro", "outputs", "load", "clients", "cycles", "restart")
RESULTS = Path(__file__).parent / "results"


def main(topics: list[str]) -> int:
    """Measure, print, write; 1 when a figure does not reach what it should."""
    figures: list[Figure] = []
    for topic in topics or TOPICS:
        print(f"measuring {topic} …", file=sys.stderr, flush=True)
        figures += importlib.import_module(topic).measure()
    print(machine.sentence())
    heads = ("FIGURE", ">MEASURED", ">REACH", "REACHED", "DETAIL")
    table = Table(heads, [f.row() for f in figures])
    print(*render(table, screen_of(sys.stdout, wide=True)), sep="\n")
    RESULTS.mkdir(exist_ok=True)
    out = RESULTS / time.strftime("%Y%m%d-%H%M%S.json")
    data = {"machine": machine.machine(), "figures": [f.data() for f in figures]}
    out.write_text(json.dumps(data, indent=2) + "\n")
    print(f"written to {out.relative_to(Path.cwd())}" if out.is_relative_to(Path.cwd()) else out)
    return 0 if all(f.reached for f in figures) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
