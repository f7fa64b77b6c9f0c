"""``tetrisctl doctor``: what is in the way of sharing here, and the command that fixes it."""

from __future__ import annotations

import argparse
import textwrap
import threading
from collections.abc import Callable

from tetris.cli.answer import Answer
from tetris.cli.checks import (
    FAILURE,
    NOTE,
    OK,
    WARNING,
    Finding,
    container,
    daemon,
    process,
    software,
    store,
)
from tetris.cli.checks.surroundings import Surroundings
from tetris.cli.exits import TO_FIX
from tetris.cli.resident import root_path
from tetris.cli.tables import Body, Table
from tetris.cli.terminal import CYAN, GREEN, RED, YELLOW, Mark
from tetris.settings import socket_path

_SECONDS = 10.0
_LEVELS = {OK: GREEN, NOTE: CYAN, WARNING: YELLOW, FAILURE: RED}

Check = Callable[[Surroundings], "Finding | None"]
CHECKS: dict[str, Check] = {
    "daemon": daemon.answers,
    "service": daemon.service,
    "socket-mount": container.socket_directory,
    "view": container.view,
    "tmpfs": store.tmpfs,
    "room": store.room,
    "inodes": store.inodes,
    "mount-options": store.options,
    "swap": store.swap,
    "huge-pages": store.huge_pages,
    "remove-ipc": store.remove_ipc,
    "daemon-files": daemon.open_files,
    "memory-limit": daemon.memory_limit,
    "max-map-count": process.max_map_count,
    "open-files": process.open_files,
    "data-limit": process.data_limit,
    "overcommit": process.overcommit,
    "kernel": process.kernel,
    "tensorflow": software.tensorflow,
    "python": software.python,
}
# Of a sentence, in 80 columns.
_WIDTH = 80 - max(map(len, _LEVELS)) - max(map(len, CHECKS)) - 4


def doctor(arguments: argparse.Namespace) -> Answer:
    """Everything that this user can find out; nothing is changed."""
    at = Surroundings(socket_path(arguments.socket), root_path(arguments.root, arguments.socket))
    found = {name: finding for name in CHECKS if (finding := _bounded(CHECKS[name], at))}
    to_fix = any(finding.level in (WARNING, FAILURE) for finding in found.values())
    data = [{"check": name, **finding._asdict()} for name, finding in found.items()]
    return Answer(data, _text(found), TO_FIX if to_fix else 0)


def _bounded(check: Check, at: Surroundings) -> Finding | None:
    """What a check found; it can hang, in a file system that does, without hanging us."""
    found: list[Finding | None] = []

    def look() -> None:
        try:
            found.append(check(at))
        except Exception as failed:  # the other checks still tell
            found.append(Finding(NOTE, f"could not be checked: {failed}"))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(_SECONDS)
    return found[0] if found else Finding(WARNING, f"no answer within {_SECONDS:.0f} s")


def _text(found: dict[str, Finding]) -> Body:
    rows: list[tuple[str, str, str]] = []
    for name, finding in found.items():
        first, *rest = textwrap.wrap(finding.sentence, _WIDTH, break_on_hyphens=False)
        rows.append((Mark(finding.level, _LEVELS[finding.level]), name, first))
        rows += [("", "", line) for line in rest]
    # Whole, however long they are: they are to be copied.
    fixes = [f"  {name}: {finding.fix}" for name, finding in found.items() if finding.fix]
    return [Table(("", "", ""), rows), *(["", "To change that:", *fixes] if fixes else [])]
