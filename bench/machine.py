"""Names the machine a figure was measured on."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path


def machine() -> dict[str, str]:
    """Processor, cores, memory, kernel, and the versions that matter."""
    cpu = [x for x in Path("/proc/cpuinfo").read_text().splitlines() if x.startswith("model name")]
    memory = int(Path("/proc/meminfo").read_text().split()[1]) >> 20
    found = {
        "cpu": cpu[0].partition(": ")[2] if cpu else platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{memory} GiB",
        "kernel": platform.release(),
        "python": platform.python_version(),
    }
    for name in ("tensorflow-cpu", "tensorflow", "numpy", "grpcio"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def sentence() -> str:
    """The same in one line."""
    m = machine()
    first = f"{m['cpu']}, {m['cores']} cores, {m['memory']}, Linux {m['kernel']}"
    rest = (f"{k} {v}" for k, v in m.items() if k not in ("cpu", "cores", "memory", "kernel"))
    return ", ".join((first, *rest))
