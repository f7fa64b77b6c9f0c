"""The daemon's settings: two frozen tables that flags, environment, file and help come from.

A flag wins over the environment, that over the file, and that over the default. The settings of a
tenant, given as flags, in the environment or at the top of the file, describe the one tenant
``default``; a file with ``[tenants.NAME]`` tables describes every tenant there instead.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tetris import quantities
from tetris.errors import InvalidModelError, NotFoundError, TetrisError
from tetris.settings import DEFAULT_SOCKET

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SHARING = ("host", "tenant")
_MODE = quantities.mode
TENANT_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")


def _setting(
    default: Any,
    help: str,  # noqa: A002
    parse: Any = str,
    *,
    many: bool = False,
    shown: str | None = None,
) -> Any:
    shown = f"default {default}" if shown is None else shown
    return field(
        default=default, metadata={"help": help, "parse": parse, "many": many, "shown": shown}
    )


def _level(text: str) -> str:
    if not isinstance(logging.getLevelName(text.upper()), int):
        raise ValueError
    return text.upper()


def _absolute(text: str) -> Path:
    if not text.startswith("/"):
        raise ValueError
    return Path(text)


def _positive(text: str) -> float:
    seconds = quantities.seconds(text)
    if not seconds > 0:
        raise ValueError
    return seconds


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError
    return int(text)


def _sharing(text: str) -> str:
    if text not in SHARING:
        raise ValueError
    return text


@dataclass(frozen=True, slots=True)
class TenantSettings:
    """One tenant: whoever can open its socket."""

    name: str = "default"
    socket: Path = _setting(DEFAULT_SOCKET, "unix socket to listen on", Path)
    socket_mode: int = _setting(
        0o660,
        "octal mode of the socket: who may connect",
        _MODE,
        shown="default 660",
    )
    group: str = _setting(
        "", "group of the socket and the view, by name or number", shown="default: the daemon's"
    )
    model_root: tuple[Path, ...] = _setting(
        (),
        "absolute directory whose models the daemon may read itself",
        _absolute,
        many=True,
        shown="repeatable; default none",
    )
    quota: int = _setting(
        0, "bytes that the tenant may hold: 4GiB", quantities.nbytes, shown="default: no limit"
    )
    sharing: str = _setting(
        "host", "'host': segments are shared with other tenants; 'tenant': with none", _sharing
    )
    max_leases: int = _setting(10_000, "leases that the tenant may have open", _count)


@dataclass(frozen=True, slots=True)
class Settings:
    """What one daemon runs with. Every name is a flag, and ``TETRISD_NAME`` in the environment."""

    root: Path = _setting(Path("/dev/shm/tetris"), "directory on a tmpfs for all state", Path)  # noqa: S108
    admin_socket: Path | None = _setting(
        None, "unix socket for administrators, mode 600", Path, shown="default: none"
    )
    capacity: int = _setting(
        0, "bytes that all segments may take", quantities.nbytes, shown="default: what fits"
    )
    headroom: int = _setting(
        256 << 20,
        "bytes of memory left to the host and to the daemon's control group",
        quantities.nbytes,
        shown="default 256MiB",
    )
    keep_alive: float = _setting(
        600.0, "an unused model stays this long: 10m", quantities.seconds, shown="default 10m"
    )
    scrub_rate: int = _setting(
        32 << 20,
        "bytes of segments re-hashed in a second; 0: none",
        quantities.nbytes,
        shown="default 32MiB",
    )
    scrub_every: float = _setting(
        21600.0, "time between the begins of two scrubs", _positive, shown="default 6h"
    )
    idle_seconds: float = _setting(
        30.0, "a publisher that sends nothing for this long is cut off", _positive
    )
    log_level: str = _setting("INFO", "DEBUG, INFO, WARNING or ERROR", _level)
    tenants: tuple[TenantSettings, ...] = (TenantSettings(),)


Table = TypeVar("Table", Settings, TenantSettings)


def parse(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings of one start.

    Raises:
        SystemExit: with status 2 and one sentence, for what cannot be read.
    """
    parser = _parser()
    flags = {n: v for n, v in vars(parser.parse_args(arguments)).items() if v is not None}
    config = flags.pop("config", None) or environment.get("TETRISD_CONFIG")
    try:
        from_file = _file(Path(config)) if config else {}
        tenants = from_file.pop("tenants", None)
        given = {**from_file, **_environment(environment), **flags}
        settings = _table(Settings, {n: given.pop(n) for n in list(given) if n in _names(Settings)})
        if tenants is None:
            described: tuple[TenantSettings, ...] = (_table(TenantSettings, given),)
        elif given:
            raise InvalidModelError(
                f"{', '.join(given)}: {config} describes the tenants, say it there"
            )
        else:
            described = _tenants(tenants)
        settings = dataclasses.replace(settings, tenants=described)
        _check_sockets(settings)
    except TetrisError as refused:
        parser.error(str(refused))
    return settings


def _entries(table: type) -> dict[str, dataclasses.Field[Any]]:
    return {entry.name: entry for entry in dataclasses.fields(table) if entry.metadata}


def _names(table: type) -> set[str]:
    return set(_entries(table))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tetrisd", description="One copy of every weight per host."
    )
    parser.add_argument("--config", help="TOML file with these settings, and those of the tenants")
    for entry in (*_entries(Settings).values(), *_entries(TenantSettings).values()):
        parser.add_argument(
            "--" + entry.name.replace("_", "-"),
            action="append" if entry.metadata["many"] else "store",
            help=f"{entry.metadata['help']} ({entry.metadata['shown']})",
        )
    return parser


def _environment(environment: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, entry in {**_entries(Settings), **_entries(TenantSettings)}.items():
        text = environment.get("TETRISD_" + name.upper())
        if text is not None:
            found[name] = [t for t in text.split(":") if t] if entry.metadata["many"] else text
    return found


def _file(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            found: dict[str, Any] = tomllib.load(file)
    except OSError as failed:
        raise NotFoundError(f"settings {path}: {failed.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as failed:
        raise InvalidModelError(f"settings {path}: {failed}") from None
    unknown = set(found) - _names(Settings) - _names(TenantSettings) - {"tenants"}
    if unknown:
        raise InvalidModelError(f"settings {path}: there is no setting {min(unknown)!r}")
    return found


def _tenants(tables: Any) -> tuple[TenantSettings, ...]:
    if not isinstance(tables, dict) or not tables:
        raise InvalidModelError("tenants: describe each in a table [tenants.NAME]")
    return tuple(_tenant(name, given) for name, given in tables.items())


def _tenant(name: str, given: Any) -> TenantSettings:
    if not TENANT_NAME.fullmatch(name):
        raise InvalidModelError(
            f"tenant {name!r}: a name is up to 32 small letters, digits and dashes"
        )
    if not isinstance(given, dict):
        raise InvalidModelError(f"tenant {name}: describe it in a table [tenants.{name}]")
    unknown = set(given) - _names(TenantSettings)
    if unknown:
        raise InvalidModelError(f"tenant {name}: there is no setting {min(unknown)!r}")
    if "socket" not in given:
        raise InvalidModelError(f"tenant {name}: it needs a socket of its own")
    return dataclasses.replace(_table(TenantSettings, given), name=name)


def _table(table: type[Table], given: Mapping[str, Any]) -> Table:
    entries = _entries(table)
    return table(**{name: _value(entries[name], value) for name, value in given.items()})


def _value(entry: dataclasses.Field[Any], given: Any) -> Any:
    read = entry.metadata["parse"]
    try:
        if entry.metadata["many"]:
            if not isinstance(given, list):
                raise ValueError
            return tuple(read(str(part)) for part in given)
        # A mode as a number has lost its base: 660 and 0o660 look alike by now.
        if isinstance(given, (dict, list, bool)) or (not isinstance(given, str) and read is _MODE):
            raise ValueError
        return read(str(given))
    except ValueError:
        raise InvalidModelError(
            f"{entry.name.replace('_', '-')}: {given!r} is no {entry.metadata['help']}"
        ) from None


def _check_sockets(settings: Settings) -> None:
    """Containers mount a socket's directory: whoever does must not find another tenant's there."""
    sockets = [(tenant.name, tenant.socket) for tenant in settings.tenants]
    if settings.admin_socket is not None:
        sockets.append(("", settings.admin_socket))
    directories = [socket.absolute().parent for _, socket in sockets]
    for (owner, socket), directory in zip(sockets, directories, strict=True):
        if directories.count(directory) > 1:
            raise InvalidModelError(f"two sockets are in {directory}: give each its own directory")
        if directory.parent == settings.root.absolute() / "tenants" and directory.name != owner:
            raise InvalidModelError(
                f"socket {socket} is in the view of another tenant: give it its own directory"
            )
