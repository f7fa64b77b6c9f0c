"""``tetrisctl run``: become an unchanged program, with sharing on in each Python it starts."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from tetris.cli.answer import Answer
from tetris.text import printable

# As a shell has them.
_NOT_EXECUTABLE, _NOT_FOUND = 126, 127
_STARTUP = Path(__file__).parents[1] / "startup"


def run(arguments: argparse.Namespace) -> Answer:
    """Become the program; its exit status and signals are its own.

    Raises:
        SystemExit: it cannot be run; the status is that of a shell.
    """
    words = [arguments.program, *arguments.arguments]
    environment = {**os.environ, "PYTHONPATH": _python_path()}
    if arguments.socket:
        environment["TETRIS_SOCKET"] = arguments.socket
    sys.stdout.flush()
    # Python ignores these two for itself, and what is ignored stays so in the program.
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored, signal.SIG_DFL)
    try:
        os.execvpe(words[0], words, environment)  # noqa: S606
    except (FileNotFoundError, ValueError):  # the second for an empty word
        raise _refused(f"{words[0]}: no such program", _NOT_FOUND) from None
    except OSError as failed:
        raise _refused(f"{words[0]}: {failed.strerror}", _NOT_EXECUTABLE) from None


def _python_path() -> str:
    # Not by joining with an empty one: that would add the working directory.
    return os.pathsep.join(filter(None, [str(_STARTUP), os.environ.get("PYTHONPATH")]))


def _refused(sentence: str, status: int) -> SystemExit:
    print(f"tetrisctl: {printable(sentence)}", file=sys.stderr)  # noqa: T201
    return SystemExit(status)
