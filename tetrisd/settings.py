"""The daemon's settings: one frozen table that flags, environment, defaults and help come from."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tetris.settings import DEFAULT_SOCKET


def _setting(default: Any, help: str, parse: Any = str, *, many: bool = False) -> Any:  # noqa: A002
    made: dict[str, Any] = {"default": default}
    return field(**made, metadata={"help": help, "parse": parse, "many": many})


def _mode(text: str) -> int:
    mode = int(text, 8)
    if not 0 <= mode <= 0o777:
        raise ValueError
    return mode


def _level(text: str) -> str:
    if not isinstance(logging.getLevelName(text.upper()), int):
        raise ValueError
    return text.upper()


def _absolute(text: str) -> Path:
    if not text.startswith("/"):
        raise ValueError
    return Path(text)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not seconds > 0:
        raise ValueError
    return seconds


@dataclass(frozen=True, slots=True)
class Settings:
    """What one daemon runs with. Every name is a flag, and ``TETRISD_NAME`` in the environment."""

    root: Path = _setting(Path("/dev/shm/tetris"), "directory on a tmpfs for all state", Path)  # noqa: S108
    socket: Path = _setting(DEFAULT_SOCKET, "unix socket to listen on", Path)
    socket_mode: int = _setting(0o660, "octal mode of the socket: who may connect", _mode)
    model_root: tuple[Path, ...] = _setting(
        (), "absolute directory whose models the daemon may read itself", _absolute, many=True
    )
    idle_seconds: float = _setting(
        30.0, "a publisher that sends nothing for this long is cut off", _seconds
    )
    log_level: str = _setting("INFO", "DEBUG, INFO, WARNING or ERROR", _level)


def parse(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings of one start: a flag wins over the environment, and that over the default.

    Raises:
        SystemExit: with status 2 and one sentence, for what cannot be read.
    """
    parser = argparse.ArgumentParser(
        prog="tetrisd", description="One copy of every weight per host."
    )
    for entry in dataclasses.fields(Settings):
        meta = entry.metadata
        parser.add_argument(
            "--" + entry.name.replace("_", "-"),
            type=meta["parse"],
            action="append" if meta["many"] else "store",
            help=f"{meta['help']} ({_shown(entry.default)})",
        )
    given = vars(parser.parse_args(arguments))
    for entry in dataclasses.fields(Settings):
        text = environment.get("TETRISD_" + entry.name.upper())
        if given[entry.name] is None and text is not None:
            given[entry.name] = _from_text(parser, entry, text)
    values: dict[str, Any] = {
        n: tuple(v) if isinstance(v, list) else v for n, v in given.items() if v is not None
    }
    return Settings(**values)


def _from_text(parser: argparse.ArgumentParser, entry: dataclasses.Field[Any], text: str) -> Any:
    read = entry.metadata["parse"]
    try:
        parts = [read(t) for t in text.split(":") if t]
        return parts if entry.metadata["many"] else read(text)
    except ValueError:
        parser.error(f"TETRISD_{entry.name.upper()}: {text!r} is no {entry.metadata['help']}")


def _shown(default: Any) -> str:
    if isinstance(default, int):  # a mode: no other setting is a whole number
        return f"default {default:o}"
    return f"default {default}" if default != () else "repeatable; default none"
