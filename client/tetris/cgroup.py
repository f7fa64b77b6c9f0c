"""The memory limits of a process's control groups, in either version of the interface."""

from __future__ import annotations

from pathlib import Path

_TOP = Path("/sys/fs/cgroup")


def memory_groups(pid: int | str = "self") -> list[Path]:
    """A process's memory control group, and those above it.

    Raises:
        OSError: it may not be read, or it has ended.
    """
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        number, controllers, path = line.split(":", 2)
        top = _TOP
        if number != "0":
            if "memory" not in controllers.split(","):
                continue
            top /= "memory"
        own = top / path.lstrip("/")
        return [own, *(p for p in own.parents if p.is_relative_to(top))]
    return []


def left(group: Path) -> int | None:
    """Bytes that a group may still take; None when it has no limit. Files it can drop are free."""
    for limit, usage in (
        ("memory.max", "memory.current"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        try:
            most = int((group / limit).read_text())
            now = int((group / usage).read_text())
            stat = (group / "memory.stat").read_text().split()
        except (OSError, ValueError):  # no such file, or the word "max"
            continue
        droppable = int(stat[stat.index("inactive_file") + 1]) if "inactive_file" in stat else 0
        return most - now + droppable
    return None


def version() -> int:
    """Which version limits memory here: 1 or 2."""
    return 2 if (_TOP / "cgroup.controllers").exists() else 1
