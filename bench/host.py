"""A daemon for a measurement: its own tmpfs with huge pages where that may be mounted."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def scratch() -> Iterator[Path]:
    """A temporary directory on a tmpfs; a mount of its own with huge pages as root."""
    directory = Path(tempfile.mkdtemp(prefix="tetris-bench-", dir="/dev/shm"))
    mount = ["mount", "-t", "tmpfs", "-o", "huge=within_size,nosuid,nodev", "tetris", directory]
    mounted = os.geteuid() == 0 and subprocess.run(mount, stderr=subprocess.DEVNULL).returncode == 0
    try:
        yield directory
    finally:
        if mounted:
            subprocess.run(["umount", "-l", directory], check=False)
        shutil.rmtree(directory, ignore_errors=True)


class Daemon:
    """A tetrisd that may read models below ``models``; a context manager that stops it."""

    def __init__(self, directory: Path, models: Path, *flags: str) -> None:
        self.root = directory / "root"
        self.socket = directory / "run" / "tetrisd.sock"
        self._log = directory / "tetrisd.log"
        self._command: list[str | Path] = [
            sys.executable,
            "-m",
            "tetrisd",
            f"--root={self.root}",
            f"--socket={self.socket}",
            f"--model-root={models}",
            *flags,
        ]
        self.start()
        while "ready on" not in self.log:
            if self.process.poll() is not None:
                raise RuntimeError(self.log)
            time.sleep(0.01)

    def start(self) -> None:
        """Start it, and wait for nothing."""
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(self._command, stderr=log)

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.process.wait()

    @property
    def log(self) -> str:
        """What it said."""
        return self._log.read_text()

    def __enter__(self) -> Daemon:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        shutil.rmtree(self.root, ignore_errors=True)
