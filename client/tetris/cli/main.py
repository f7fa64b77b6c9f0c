"""The command line: a table of commands, and one way to run each."""

from __future__ import annotations

import argparse
import errno
import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from tetris import __version__
from tetris.cli import admin, completion, install, lists, suggest
from tetris.cli.answer import Answer
from tetris.cli.command import Argument, Command
from tetris.cli.doctor import doctor
from tetris.cli.exits import EXITS, FAILED, INTERRUPTED, code_of
from tetris.cli.processes import processes
from tetris.cli.publish import publish
from tetris.cli.run import run
from tetris.cli.show import show
from tetris.cli.stat import stat
from tetris.cli.tables import render
from tetris.cli.terminal import forgiving, screen_of
from tetris.cli.top import top
from tetris.cli.tree import tree
from tetris.cli.version import version
from tetris.cli.watch import watch
from tetris.errors import TetrisError
from tetris.quantities import nbytes, seconds
from tetris.text import printable


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise ValueError(text)
    return int(text)


def _complete(arguments: argparse.Namespace) -> Answer:
    words = arguments.words
    return completion.complete(words[words[:1] == ["--"] :], COMMANDS, COMMON)


_MODEL = Argument("model", help="name, or first hex digits of its fingerprint")
_ANY_MODEL = Argument("model", nargs="?", help="only this one")
_TENANT = Argument("--tenant", default="default", help="whose (default: default)")
_ALL = Argument(
    "-A", "--all-tenants", action="store_true", help="of every tenant: asks the admin socket"
)
_PLACE = (
    Argument("--root", default="/", help="of another file system, for packagers"),
    Argument("--prefix", default="/usr/local", help="(default: /usr/local)"),
    Argument("--bindir", help="of tetrisd and tetrisctl (default: this environment's)"),
)
_ROOT = Argument("--root", help="root or view (default: TETRIS_ROOT, or /dev/shm/tetris)")
# Of every command, before or after its name.
COMMON = (
    Argument("--socket", help="the daemon's socket (default: TETRIS_SOCKET, or the system's)"),
    Argument(
        "--admin-socket",
        help="the administrators' socket (default: TETRIS_ADMIN_SOCKET, or the system's)",
    ),
    Argument(
        "-o",
        "--output",
        choices=("table", "wide", "json"),
        help="table: what fits the screen (default); wide: everything; json: for programs",
    ),
    Argument(
        "--json", action="store_const", const="json", dest="output", help="the same as -o json"
    ),
)
COMMANDS = (
    Command("publish", publish, "make a model's tensors resident", (Argument("path"),)),
    Command("models", lists.command(lists.MODELS), "what is published", (_ALL,)),
    Command("show", show, "one model's tensors, who shares each, and since when", (_MODEL,)),
    Command("tree", tree, "which models share what", (_ANY_MODEL, _ALL)),
    Command("segments", lists.command(lists.SEGMENTS), "what is resident, largest first", (_ALL,)),
    Command("leases", lists.command(lists.LEASES), "who uses what, since when", (_ALL,)),
    Command("stat", stat, "what sharing saves, in one screen", (_ALL,)),
    Command(
        "top",
        top,
        "models, readers, rates and memory, live; q ends it",
        (
            Argument(
                "-n", "--count", type=_count, metavar="COUNT", help="looks (default: 1 in a pipe)"
            ),
            Argument(
                "-d",
                "--delay",
                type=seconds,
                default=2.0,
                metavar="SECONDS",
                help="between two looks (default: 2)",
            ),
            _ALL,
        ),
    ),
    Command("watch", watch, "what happens, as it happens, a line each", (_ALL,)),
    Command(
        "ps",
        processes,
        "which processes map a model now, from the kernel; needs no daemon",
        (_ANY_MODEL, _ROOT),
    ),
    Command(
        "doctor",
        doctor,
        "what is in the way of sharing here, and the command that fixes it",
        (_ROOT,),
    ),
    Command(
        "run",
        run,
        "run an unchanged program with sharing on: run [--] gunicorn app:app",
        (
            Argument("program", metavar="CMD", help="as on a command line"),
            Argument("arguments", nargs=argparse.REMAINDER, help="its own"),
        ),
    ),
    Command("tenants", admin.tenants, "every tenant, and what it holds"),
    Command("pin", admin.pin, "keep a model, used or not", (_MODEL, _TENANT)),
    Command("unpin", admin.unpin, "let it go when its time comes", (_MODEL, _TENANT)),
    Command(
        "keep",
        admin.keep,
        "how long a model stays while nobody uses it",
        (
            _MODEL,
            Argument("seconds", type=seconds, nargs="?", help="10m; the daemon's default without"),
            _TENANT,
        ),
    ),
    Command("evict", admin.evict, "remove a model, now or with its last user", (_MODEL, _TENANT)),
    Command("gc", admin.gc, "remove whatever nobody uses"),
    Command(
        "quota",
        admin.quota,
        "give a tenant another quota until the settings are read again",
        (
            Argument("tenant"),
            Argument("bytes", type=nbytes, help="4GiB; 0: none"),
        ),
    ),
    Command("reload", admin.reload, "have the daemon read its settings again"),
    Command(
        "verify",
        admin.verify,
        "compare what is stored with what it must be, byte by byte",
        (_ANY_MODEL, _TENANT),
    ),
    Command(
        "install",
        install.install,
        "make tetrisd a service of this host, and start it",
        (*_PLACE, Argument("--no-start", action="store_true", help="only write the files")),
    ),
    Command(
        "uninstall",
        install.uninstall,
        "stop the service and remove what install wrote",
        (*_PLACE, Argument("--purge", action="store_true", help="settings and user too")),
    ),
    Command("version", version, "of the client, the daemon and TensorFlow"),
    Command(
        "completion",
        completion.completion,
        "the script that completes commands, flags and names in a shell",
        (Argument("shell", choices=tuple(completion.SCRIPTS), help="of this shell"),),
    ),
    Command("complete", _complete, "", (Argument("words", nargs=argparse.REMAINDER),)),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    _have_streams()
    given = _parser().parse_args(
        arguments,
        argparse.Namespace(socket=None, admin_socket=None, output="table", all_tenants=False),
    )
    try:
        answer: Answer | None = given.run(given)
        for line in _lines(answer, given.output) if answer else ():
            print(line)  # noqa: T201
        sys.stdout.flush()
        return answer.status if answer else 0
    except TetrisError as failed:
        print(f"tetrisctl: {printable(suggest.sentence(failed, given))}", file=sys.stderr)  # noqa: T201
        return code_of(failed)
    except BrokenPipeError:
        _close_output()  # the reader, a `head` for one, has seen enough
    except OSError as failed:
        if failed.errno != errno.ENOSPC:
            raise
        _close_output()
        print(f"tetrisctl: the output is cut off: {failed.strerror}", file=sys.stderr)  # noqa: T201
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def _have_streams() -> None:
    """Somebody may have closed them: what is printed then must not turn up in the other one."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    forgiving(sys.stdout)
    forgiving(sys.stderr)


def _close_output() -> None:
    """Nothing more is written: not by the interpreter at its end either, which would complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _lines(answer: Answer, output: str) -> Iterable[str]:
    if output == "json":
        return [json.dumps(answer.data, indent=2)]
    return render(answer.text, screen_of(sys.stdout, wide=output == "wide"))


class _Parser(argparse.ArgumentParser):
    """Its complaints, too, are safe to show: the words may come from a script."""

    def error(self, message: str) -> NoReturn:
        super().error(printable(suggest.complaint(message)))


def _parser() -> argparse.ArgumentParser:
    # Both before and after the command; SUPPRESS keeps the second from hiding the first.
    common = _Parser(add_help=False, argument_default=argparse.SUPPRESS)
    for argument in COMMON:
        common.add_argument(*argument.names, **argument.options)
    parser = _Parser(
        prog="tetrisctl",
        description="One copy of every weight per host.",
        epilog="exit codes: " + "; ".join(f"{row.code} {row.meaning}" for row in EXITS),
        parents=[common],
    )
    parser.add_argument("--version", action="version", version=f"tetrisctl {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for entry in COMMANDS:
        # Without a help of its own argparse leaves a command out of the list.
        listed: dict[str, Any] = {"help": entry.help} if entry.help else {}
        command = commands.add_parser(
            entry.name, description=entry.help, parents=[common], **listed
        )
        command.set_defaults(run=entry.run)
        for argument in entry.arguments:
            command.add_argument(*argument.names, **argument.options)
    return parser
