"""A daemon whose settings a test writes anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.reloading import ReloadedDaemon


@pytest.fixture
def red(tmp_path: Path) -> Path:
    """Where tenant red's socket is, by convention of these tests."""
    return tmp_path / "red" / "s"


@pytest.fixture
def start(memory: Path, tmp_path: Path) -> Iterator[Callable[[str], ReloadedDaemon]]:
    """Start the one daemon of a test."""
    started: list[ReloadedDaemon] = []

    def run(text: str) -> ReloadedDaemon:
        started.append(ReloadedDaemon(tmp_path / "d", memory / "root", text).start())
        return started[0]

    yield run
    for daemon in started:
        daemon.stop()
