"""A command on a terminal of its own: what it shows, and what keys do to it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time

TETRISCTL = ("-m", "tetris.cli")


class Terminal:
    """Runs ``python ARGUMENTS`` as the leader of a new pseudo-terminal; it dies with this process.

    Attributes:
        shown: all that it wrote.
    """

    def __init__(self, *arguments: str, columns: int = 80, lines: int = 24, **environment: str):
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.before = termios.tcgetattr(slave)
        kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", "setsid", "-c", sys.executable, *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**kept, "TERM": "xterm-256color", **environment},
        )
        self._slave = slave  # open, so that its settings can be looked at after the end
        self.shown = ""

    def until(self, words: str, seconds: float = 30.0) -> str:
        """Read until ``words`` were shown."""
        deadline = time.monotonic() + seconds
        while words not in self.shown:
            assert time.monotonic() < deadline, f"no {words!r} in {self.shown!r}"
            self._read(0.05)
        return self.shown

    def press(self, keys: str) -> None:
        """What a person types; ``\\x03`` is Ctrl-C."""
        os.write(self._master, keys.encode())

    def end(self, seconds: float = 30.0) -> int:
        """Read until the command has ended; its exit status."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"still running: {self.shown!r}"
            self._read(0.05)
        while self._read(0.05):
            pass
        return self.process.returncode

    def settings(self) -> list[object]:
        """Of the terminal, as ``termios`` tells them."""
        return termios.tcgetattr(self._slave)

    def _read(self, seconds: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], seconds)
        if ready:
            self.shown += os.read(self._master, 1 << 16).decode(errors="replace")
        return bool(ready)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)
        os.close(self._slave)
