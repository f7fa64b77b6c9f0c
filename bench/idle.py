"""What an idle daemon costs: private memory and wake-ups a second, after it has served once."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import memory
from figures import Figure
from host import Daemon, scratch
from models import MODELS, ensure

SECONDS = 10
# In a process of its own: while another one has grpc loaded, its pages would not count as private.
ATTACH = "import sys, tetris; list(tetris.attach(sys.argv[1], socket=sys.argv[2]).values())"


def _wakeups(pid: int) -> int:
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        for line in (task / "status").read_text().splitlines():
            if "ctxt_switches" in line:
                total += int(line.split()[1])
    return total


def measure() -> list[Figure]:
    """One daemon that published and served MobileNetV2, then nothing for ten seconds."""
    path = ensure("mobilenetv2", MODELS)
    with scratch() as directory, Daemon(directory, MODELS) as daemon:
        subprocess.run([sys.executable, "-c", ATTACH, path, daemon.socket], check=True)
        pid = daemon.process.pid
        before = _wakeups(pid)
        time.sleep(SECONDS)
        wakeups = (_wakeups(pid) - before) / SECONDS
        private = memory.cost(pid).private / 1e6
    return [
        Figure("idle daemon, private memory", private, "MB", at_most=45),
        Figure("idle daemon, wake-ups a second", wakeups, "/s", at_most=20),
    ]
