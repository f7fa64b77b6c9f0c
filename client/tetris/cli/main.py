"""The command line: a table of commands, and one way to run each."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from tetris.cli import admin, install, tenant
from tetris.cli.answer import Answer
from tetris.errors import (
    InvalidModelError,
    NotFoundError,
    TetrisError,
    UnavailableError,
)
from tetris.quantities import nbytes, seconds

# Exit codes, most special first; documented in docs/tetrisctl.md and in --help.
_EXITS: tuple[tuple[type[TetrisError], int], ...] = (
    (UnavailableError, 3),
    (NotFoundError, 4),
    (InvalidModelError, 5),
    (TetrisError, 1),
)
_EPILOG = (
    "exit codes: 0 done; 1 refused or failed; 2 wrong usage; 3 no daemon answers; "
    "4 no such model; 5 the model's files are wrong or damaged; 6 verify found damage; "
    "130 interrupted"
)


class Argument(NamedTuple):
    """One more word that a command takes."""

    name: str
    options: Mapping[str, Any] = MappingProxyType({})


class Command(NamedTuple):
    """A command: what it runs, what it says of itself, and what it takes."""

    name: str
    run: Callable[[argparse.Namespace], Answer]
    help: str
    arguments: tuple[Argument, ...] = ()


_MODEL = Argument("model", {"help": "name, or first hex digits of its fingerprint"})
_TENANT = Argument("--tenant", {"default": "default", "help": "whose (default: default)"})
_PLACE = (
    Argument("--root", {"default": "/", "help": "of another file system, for packagers"}),
    Argument("--prefix", {"default": "/usr/local", "help": "(default: /usr/local)"}),
    Argument("--bindir", {"help": "of tetrisd and tetrisctl (default: this environment's)"}),
)
_COMMANDS = (
    Command("publish", tenant.publish, "make a model's tensors resident", (Argument("path"),)),
    Command("models", tenant.models, "what is published"),
    Command("show", tenant.show, "one model's tensors", (_MODEL,)),
    Command("segments", tenant.segments, "what is resident, largest first"),
    Command("leases", tenant.leases, "who uses what, since when"),
    Command("stat", tenant.stat, "what sharing saves"),
    Command("tenants", admin.tenants, "every tenant, and what it holds"),
    Command("all-models", admin.all_models, "what every tenant has published"),
    Command("all-leases", admin.all_leases, "who uses what, of every tenant"),
    Command("host", admin.host, "what sharing saves on the whole host"),
    Command("pin", admin.pin, "keep a model, used or not", (_MODEL, _TENANT)),
    Command("unpin", admin.unpin, "let it go when its time comes", (_MODEL, _TENANT)),
    Command(
        "keep",
        admin.keep,
        "how long a model stays while nobody uses it",
        (
            _MODEL,
            Argument(
                "seconds",
                {"type": seconds, "nargs": "?", "help": "10m; the daemon's default without"},
            ),
            _TENANT,
        ),
    ),
    Command("evict", admin.evict, "remove a model, now or with its last user", (_MODEL, _TENANT)),
    Command("gc", admin.gc, "remove whatever nobody uses"),
    Command(
        "quota",
        admin.quota,
        "give a tenant another quota until the daemon's next start",
        (
            Argument("tenant_name", {"metavar": "tenant"}),
            Argument("bytes", {"type": nbytes, "help": "4GiB; 0: none"}),
        ),
    ),
    Command("reload", admin.reload, "have the daemon read its settings again"),
    Command(
        "verify",
        admin.verify,
        "compare what is stored with what it must be, byte by byte",
        (Argument("model", {"nargs": "?", "help": "only this one"}), _TENANT),
    ),
    Command(
        "install",
        install.install,
        "make tetrisd a service of this host, and start it",
        (*_PLACE, Argument("--no-start", {"action": "store_true", "help": "only write the files"})),
    ),
    Command(
        "uninstall",
        install.uninstall,
        "stop the service and remove what install wrote",
        (*_PLACE, Argument("--purge", {"action": "store_true", "help": "settings and user too"})),
    ),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    given = _parser().parse_args(
        arguments, argparse.Namespace(socket=None, admin_socket=None, json=False)
    )
    try:
        answer: Answer = given.run(given)
        print(json.dumps(answer.data, indent=2) if given.json else answer.text, flush=True)  # noqa: T201
        return answer.status
    except TetrisError as failed:
        print(f"tetrisctl: {failed}", file=sys.stderr)  # noqa: T201
        return next(code for kind, code in _EXITS if isinstance(failed, kind))
    except BrokenPipeError:
        # The reader, a `head` for one, has seen enough; keep the interpreter from complaining too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    # Both before and after the command; SUPPRESS keeps the second from hiding the first.
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    common.add_argument(
        "--socket", help="the daemon's socket (default: TETRIS_SOCKET, or the system's)"
    )
    common.add_argument(
        "--admin-socket",
        help="the administrators' socket (default: TETRIS_ADMIN_SOCKET, or the system's)",
    )
    common.add_argument("--json", action="store_true", help="print for programs")
    parser = argparse.ArgumentParser(
        prog="tetrisctl",
        description="One copy of every weight per host.",
        epilog=_EPILOG,
        parents=[common],
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for entry in _COMMANDS:
        command = commands.add_parser(
            entry.name, help=entry.help, description=entry.help, parents=[common]
        )
        command.set_defaults(run=entry.run)
        for argument in entry.arguments:
            command.add_argument(argument.name, **argument.options)
    return parser
