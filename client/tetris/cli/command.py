"""What a command is: its row in the table of commands."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NamedTuple

from tetris.cli.answer import Answer


class Argument:
    """One more word that a command takes: its names, and what argparse is told of it."""

    def __init__(self, *names: str, **options: Any) -> None:
        self.names = names
        self.options = options

    @property
    def is_flag(self) -> bool:
        """It starts with a dash and may be left out."""
        return self.names[0].startswith("-")

    @property
    def takes_value(self) -> bool:
        """A word follows it."""
        return self.is_flag and not self.options.get("action", "store").startswith("store_")

    @property
    def dest(self) -> str:
        """Where argparse puts what is given."""
        long = next((name for name in self.names if name.startswith("--")), self.names[0])
        return str(self.options.get("dest", long.lstrip("-").replace("-", "_")))


class Command(NamedTuple):
    """A command: what it runs, what it says of itself, and what it takes.

    What it runs answers once, or has printed all it had to say. One that says nothing of itself is
    for programs alone.
    """

    name: str
    run: Callable[[argparse.Namespace], Answer | None]
    help: str
    arguments: tuple[Argument, ...] = ()
