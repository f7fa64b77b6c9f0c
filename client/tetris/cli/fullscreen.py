"""The whole terminal for as long as it is needed, and as it was afterwards."""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
import termios
import time
import tty
from collections.abc import Sequence
from types import FrameType, TracebackType
from typing import Any

# The screen beside the ordinary one, no cursor on it, no line that goes on in the next; and back.
_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"
_LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l"
_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP)


class FullScreen:
    """Draws on all of standard output, and takes single keys."""

    def __enter__(self) -> FullScreen:
        self._keys = sys.stdin.fileno() if sys.stdin and sys.stdin.isatty() else None
        self._before: list[Any] | None = None
        self._handlers = {number: signal.signal(number, self._signalled) for number in _SIGNALS}
        self._take()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._give_back()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def draw(self, lines: Sequence[str]) -> None:
        """Show these lines, over what was there: nothing flickers."""
        # Each is cleared before it is written: after a full one the cursor stands on its end.
        sys.stdout.write("\x1b[H" + "\r\n".join(f"\x1b[2K{line}" for line in lines))
        if len(lines) < shutil.get_terminal_size().lines:
            sys.stdout.write("\r\n\x1b[J")
        sys.stdout.flush()

    def key(self, seconds: float) -> str:
        """The key that is pressed within this time, if any."""
        if self._keys is None:
            time.sleep(seconds)
            return ""
        ready, _, _ = select.select([self._keys], [], [], seconds)
        return os.read(self._keys, 64).decode(errors="replace") if ready else ""

    def _take(self) -> None:
        if self._keys is not None:
            self._before = termios.tcgetattr(self._keys)
            tty.setcbreak(self._keys)
        sys.stdout.write(_ENTER)
        sys.stdout.flush()

    def _give_back(self) -> None:
        sys.stdout.write(_LEAVE)
        sys.stdout.flush()
        if self._keys is not None and self._before is not None:
            termios.tcsetattr(self._keys, termios.TCSADRAIN, self._before)

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        if number != signal.SIGTSTP:
            raise SystemExit(128 + number)
        self._give_back()
        os.kill(os.getpid(), signal.SIGSTOP)  # and, when somebody sends SIGCONT:
        self._take()
