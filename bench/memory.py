"""What processes cost, counted honestly: private pages, fair shares, and a tmpfs counted once."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

# Under any directory: a container has its view where it likes.
_SEGMENT = re.compile(r"/[0-9a-f]{64}(?: \(deleted\))?$")


class Cost(NamedTuple):
    """Of one process, in bytes; the pages of a store's segments are left out of all three.

    Attributes:
        private: pages that no other process maps, code of libraries included.
        written: those of them that it wrote, which its end would free; a library's clean pages can
            be dropped at any time, and are shared with the next process that loads it.
        proportional: every page divided by the number of its users.
    """

    private: int
    written: int
    proportional: int


def cost(pid: int | str = "self") -> Cost:
    """From ``/proc/PID/smaps``.

    A segment's pages are the store's, which ``resident`` counts once: they stay when the process
    ends. Those that it alone maps stand among its private ones, so they are taken out, mapping by
    mapping; what it copied by writing (``Anonymous``) stays in.
    """
    total = dict.fromkeys(("Private_Clean", "Private_Dirty", "Pss"), 0)
    for in_store, fields in _mappings(pid):
        copied = fields["Anonymous"] if in_store else None
        for name in total:
            total[name] += fields[name] if copied is None else 0
        if copied:
            total["Private_Dirty"] += copied
            total["Pss"] += copied
    written = total["Private_Dirty"]
    return Cost(written + total["Private_Clean"], written, total["Pss"])


def _mappings(pid: int | str) -> Iterator[tuple[bool, dict[str, int]]]:
    """For every mapping, whether it is of a store, and its fields in bytes."""
    in_store, fields = False, dict[str, int]()
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        name, _, value = line.partition(":")
        if " " in name:  # the head of a mapping: range, modes, offset, device, inode, path
            in_store = _SEGMENT.search(line) is not None
            fields = {}
        elif name == "VmFlags":
            yield in_store, fields
        elif value.endswith("kB"):
            fields[name] = int(value.split()[0]) * 1024


def resident(root: Path) -> int:
    """Bytes of a store's segments, each counted once whatever its links."""
    return sum(f.stat().st_blocks * 512 for f in (root / "objects").rglob("*") if f.is_file())


def private(pid: int) -> int:
    """Private bytes of a process that maps no segment, at the price of one short read."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    lines = (line.split() for line in rollup.splitlines() if line.startswith("Private_"))
    return sum(int(words[1]) * 1024 for words in lines)


def occupied(root: Path) -> int:
    """Bytes of every file of a store, whatever its links; files may come and go meanwhile."""
    seen: dict[int, int] = {}
    for directory, _, names in os.walk(root):
        for name in names:
            with suppress(FileNotFoundError):
                found = os.lstat(os.path.join(directory, name))
                seen[found.st_ino] = found.st_blocks * 512
    return sum(seen.values())


def cpu_seconds(pid: int) -> float:
    """What all threads of a process have computed so far."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
