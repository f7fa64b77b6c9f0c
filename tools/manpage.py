"""tetrisctl(1), made from the table of commands: ``python tools/manpage.py`` writes it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from tetris import __version__
from tetris.cli.command import Argument, Command
from tetris.cli.exits import EXITS
from tetris.cli.main import COMMANDS, COMMON
from tetris.settings import DEFAULT_ADMIN_SOCKET, DEFAULT_SOCKET

PAGE = Path(__file__).parents[1] / "man" / "tetrisctl.1"

_DESCRIPTION = """\
tetrisctl publishes models, and shows and decides what tetrisd keeps: one copy of every weight per \
host. What concerns one tenant goes to that tenant's socket, what concerns the host to the \
administrators'. A table fits its terminal, and 80 columns elsewhere; -o wide shows everything, \
-o json is for programs."""
_ENVIRONMENT = (
    ("TETRIS_SOCKET", f"the daemon's socket, without --socket; else {DEFAULT_SOCKET}"),
    (
        "TETRIS_ADMIN_SOCKET",
        f"the administrators' socket, without --admin-socket; else {DEFAULT_ADMIN_SOCKET}",
    ),
    ("NO_COLOR", "set to anything, no colours; a terminal of TERM=dumb gets none either"),
)


def page() -> str:
    """The page as roff."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield '.\\" Made by tools/manpage.py from the table of commands.'
    yield f'.TH TETRISCTL 1 "" "tetris {__version__}" "Tetris"'
    yield from (".SH NAME", _text("tetrisctl - publish models, and see and decide what is shared"))
    yield from (".SH SYNOPSIS", ".B tetrisctl", _text("[OPTION]... COMMAND [ARGUMENT]..."))
    yield from (".SH DESCRIPTION", _text(_DESCRIPTION), ".SH COMMANDS")
    for command in COMMANDS:
        if command.help:
            yield from _command(command)
    yield from (".SH OPTIONS", "They stand before or after the command.")
    yield from _flags(COMMON)
    yield ".SH ENVIRONMENT"
    for name, meaning in _ENVIRONMENT:
        yield from _entry(name, meaning)
    yield ".SH EXIT STATUS"
    for row in EXITS:
        yield from _entry(str(row.code), row.meaning.replace("`", ""))


def _command(command: Command) -> Iterator[str]:
    words = [argument for argument in command.arguments if not argument.is_flag]
    yield from _entry(" ".join([command.name, *map(_word, words)]), command.help)
    flags = [argument for argument in command.arguments if argument.is_flag]
    explained = [argument for argument in words if "help" in argument.options]
    if flags or explained:
        yield ".RS"
        for argument in explained:
            yield from _entry(_value(argument), argument.options["help"])
        yield from _flags(flags)
        yield ".RE"


def _flags(flags: Iterable[Argument]) -> Iterator[str]:
    for flag in flags:
        value = f" {_value(flag)}" if flag.takes_value else ""
        yield from _entry(", ".join(flag.names) + value, flag.options.get("help", ""))


def _entry(term: str, meaning: str) -> Iterator[str]:
    yield from (".TP", f".B {_text(term)}", _text(meaning))


def _word(argument: Argument) -> str:
    nargs = argument.options.get("nargs")
    value = _value(argument)
    return f"[{value}]" if nargs == "?" else f"{value}..." if nargs else value


def _value(argument: Argument) -> str:
    choices = argument.options.get("choices")
    named = str(argument.options.get("metavar") or argument.dest.upper())
    return "|".join(choices) if choices else named


def _text(words: str) -> str:
    """Text as roff takes it: nothing in it is a request, and a hyphen is one."""
    escaped = words.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + escaped if escaped.startswith((".", "'")) else escaped


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    sys.exit(PAGE.write_text(page()) == 0)
