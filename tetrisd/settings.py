"""The daemon's settings: two frozen tables that flags, environment, file and help come from.

A flag wins over the environment, that over the file, and that over the default. The settings of a
tenant, given as flags, in the environment or at the top of the file, describe the one tenant
``default``; a file with ``[tenants.NAME]`` tables describes every tenant there instead.
"""

from __future__ import annotations

import argparse
import dataclasses
import ipaddress
import logging
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tetris import quantities
from tetris.errors import ConflictError, InvalidModelError, NotFoundError, TetrisError
from tetris.settings import DEFAULT_SOCKET
from tetrisd.logs import FORMATS

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


def _path(text: str) -> Path:
    if "\0" in text:
        raise ValueError
    return Path(text)


def _absolute(text: str) -> Path:
    if not text.startswith("/"):
        raise ValueError
    return _path(text)


def _positive(text: str) -> float:
    seconds = quantities.seconds(text)
    if not seconds > 0:
        raise ValueError
    return seconds


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError
    return int(text)


def _log_format(text: str) -> str:
    if text not in FORMATS:
        raise ValueError
    return text


def _metrics(text: str) -> str:
    """A path, or a host of the loopback and a port: who scrapes sees every tenant's name."""
    if text.startswith("/") or not text:
        return str(_path(text)) if text else ""
    host, colon, port = text.rpartition(":")
    if not colon or not ipaddress.ip_address(host.strip("[]")).is_loopback:
        raise ValueError
    if not 0 <= _count(port) <= 65535:
        raise ValueError
    return text


def _sharing(text: str) -> str:
    if text not in SHARING:
        raise ValueError
    return text


@dataclass(frozen=True, slots=True)
class TenantSettings:
    """One tenant: whoever can open its socket."""

    name: str = "default"
    socket: Path = _setting(DEFAULT_SOCKET, "unix socket to listen on", _path)
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

    root: Path = _setting(Path("/dev/shm/tetris"), "directory on a tmpfs for all state", _path)  # noqa: S108
    admin_socket: Path | None = _setting(
        None, "unix socket for administrators, mode 600", _path, shown="default: none"
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
    metrics: str = _setting(
        "",
        "where Prometheus scrapes: an address of the loopback, 127.0.0.1:9464, or a unix socket",
        _metrics,
        shown="default: nowhere",
    )
    log_level: str = _setting("INFO", "DEBUG, INFO, WARNING or ERROR", _level)
    log_format: str = _setting(
        "auto", "'text', 'json', or 'auto': JSON where the journal reads it", _log_format
    )
    tenants: tuple[TenantSettings, ...] = (TenantSettings(),)


# What a running daemon cannot change.
_FIXED = ("root", "admin_socket", "metrics", "log_format")
_FIXED_OF_TENANT = ("socket", "socket_mode", "group", "sharing")

Table = TypeVar("Table", Settings, TenantSettings)


def parse(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings of one start.

    Raises:
        SystemExit: with status 2 and one sentence, for what cannot be read.
    """
    try:
        return read(arguments, environment)
    except TetrisError as refused:
        _parser().error(str(refused))


def read(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> Settings:
    """The same, for who goes on with the settings it has.

    Raises:
        TetrisError: something in the file or the environment cannot be read.
    """
    flags = {n: v for n, v in vars(_parser().parse_args(arguments)).items() if v is not None}
    config = flags.pop("config", None) or environment.get("TETRISD_CONFIG")
    from_file = _file(Path(config)) if config else {}
    tenants = from_file.pop("tenants", None)
    given = {**from_file, **_environment(environment), **flags}
    settings = _table(Settings, {n: given.pop(n) for n in list(given) if n in _names(Settings)})
    if tenants is None:
        described: tuple[TenantSettings, ...] = (_table(TenantSettings, given),)
    elif given:
        raise InvalidModelError(f"{', '.join(given)}: {config} describes the tenants, say it there")
    else:
        described = _tenants(tenants)
    settings = dataclasses.replace(settings, tenants=described)
    _check_sockets(settings)
    return settings


def reloaded(old: Settings, new: Settings) -> Settings:
    """What a reload makes of ``new``: what only a start can change stays as it is.

    Raises:
        ConflictError: a new tenant's socket is where another's is as long as the daemon runs.
    """
    known = {tenant.name: tenant for tenant in old.tenants}
    taken = {socket.absolute().parent: whose for whose, socket in _sockets(old)}
    for tenant in new.tenants:
        owner = taken.get(tenant.socket.absolute().parent)
        if tenant.name not in known and owner is not None:
            raise ConflictError(
                f"tenant {tenant.name}: the socket of {owner} is in {tenant.socket.parent} still: "
                "this needs a restart"
            )
    tenants = tuple(
        _keeping(known.get(tenant.name, tenant), tenant, _FIXED_OF_TENANT) for tenant in new.tenants
    )
    return dataclasses.replace(_keeping(old, new, _FIXED), tenants=tenants)


def differences(old: Settings, new: Settings) -> list[str]:
    """What is different, a line each."""
    found = _different("", old, new)
    before = {tenant.name: tenant for tenant in old.tenants}
    after = {tenant.name: tenant for tenant in new.tenants}
    for name in sorted({*before, *after}):
        if name not in before:
            found.append(f"tenant {name}: new")
        elif name not in after:
            found.append(f"tenant {name}: served no more")
        else:
            found += _different(f"tenant {name}, ", before[name], after[name])
    return found


def _keeping(old: Table, new: Table, names: Sequence[str]) -> Table:
    return dataclasses.replace(new, **{name: getattr(old, name) for name in names})


def _different(where: str, old: Table, new: Table) -> list[str]:
    return [
        f"{where}{name.replace('_', '-')}: {_shown(entry, old)} -> {_shown(entry, new)}"
        for name, entry in _entries(type(old)).items()
        if getattr(old, name) != getattr(new, name)
    ]


def _shown(entry: dataclasses.Field[Any], table: Settings | TenantSettings) -> str:
    value = getattr(table, entry.name)
    if entry.metadata["many"]:
        return ":".join(map(str, value)) or "none"
    return f"{value:o}" if entry.metadata["parse"] is _MODE else str(value)


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
    seen = set()
    views = settings.root.absolute() / "tenants"
    for whose, socket in _sockets(settings):
        directory = socket.absolute().parent
        if directory in seen:
            raise InvalidModelError(f"two sockets are in {directory}: give each its own directory")
        if directory.parent == views and whose != f"tenant {directory.name}":
            raise InvalidModelError(
                f"socket {socket} is in the view of another tenant: give it its own directory"
            )
        seen.add(directory)


def _sockets(settings: Settings) -> list[tuple[str, Path]]:
    """Whose socket is where. Who scrapes, and every administrator, is told of all tenants."""
    sockets = [(f"tenant {tenant.name}", tenant.socket) for tenant in settings.tenants]
    if settings.admin_socket is not None:
        sockets.append(("administrators", settings.admin_socket))
    if settings.metrics.startswith("/"):
        sockets.append(("metrics", Path(settings.metrics)))
    return sockets
