"""``tetrisctl ps``: which processes map a model now. The kernel knows; no daemon is asked.

A process uses a model when it maps a lease of it: its mappings of that model's segments count for
it, and a segment that two of its models name counts for both. What it maps beyond that, of a model
that it has closed for one, counts for the models that explain most of it: the one that names most
of those bytes first, then the one that names most of the rest.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

from tetris.cli import proc
from tetris.cli.answer import Answer
from tetris.cli.resident import SEGMENT, Resident, resident, root_path
from tetris.cli.tables import Body, Column, Table, size
from tetris.errors import NotFoundError
from tetris.manifest import Manifest

_COLUMNS = (
    Column("PID", right=True),
    Column("USER", least=8),
    Column("MODEL", least=12),
    Column("MAPPED", right=True),
    Column("PSS", right=True),
    Column("COPIED", right=True),
    Column("PRIVATE", right=True, spare=2),
    Column("ALL PSS", right=True, spare=2),
    Column("CONTAINER", least=12),
    Column("COMMAND", least=24),
)


class Model(NamedTuple):
    """What a row is about; without a name where nothing tells which model it is."""

    tenant: str = ""
    fingerprint: str = ""
    name: str = "?"

    def is_meant_by(self, text: str | None) -> bool:
        """Whether a user who says ``text`` means this one."""
        beginning = text is not None and len(text) >= 4 and self.fingerprint.startswith(text)
        return text is None or text == self.name or beginning


class User(NamedTuple):
    """A process that maps files of the root.

    Attributes:
        segments: digest, by inode.
        unlinked: those of them that no directory shows any more.
        models: that it maps a lease of.
    """

    pid: int
    segments: dict[int, bytes]
    unlinked: frozenset[int]
    models: frozenset[Model]


def processes(arguments: argparse.Namespace) -> Answer:
    """Which processes map a model."""
    files = resident(root_path(arguments.root, arguments.socket))
    found, refused = _mapped_files(files.device)
    # After the maps: a mapped segment cannot go meanwhile, and a new one is seen.
    files.read()
    users = [user for pid, of in found.items() if (user := _user(pid, of, files)).segments]
    rows = [row for user in users for row in _rows(user, files, arguments.model)]
    if not rows and arguments.model:
        _check_known(arguments.model, files)
    rows.sort(key=lambda row: (-row["bytes_proportional"], row["pid"]))
    return Answer({"processes": rows, "unreadable": refused}, _text(rows, refused))


def _mapped_files(device: int) -> tuple[dict[int, set[proc.File]], int]:
    """The files of ``device`` by process, and how many processes may not be read."""
    found, refused = {}, 0
    for pid in proc.pids():
        try:
            if files := proc.files_on(pid, device):
                found[pid] = files
        except PermissionError:
            refused += 1
        except OSError:
            pass  # it has ended
    return found, refused


def _user(pid: int, mapped: set[proc.File], files: Resident) -> User:
    segments = {f.inode: files.segments[f.inode] for f in mapped if f.inode in files.segments}
    unlinked = {
        f.inode: bytes.fromhex(name[1])
        for f in mapped
        if f.deleted and f.inode not in segments and (name := SEGMENT.fullmatch(f.name))
    }
    leases = (files.lease(f.inode) for f in mapped if f.inode in files.leases)
    models = frozenset(Model(*lease) for lease in leases if lease)
    return User(pid, segments | unlinked, frozenset(unlinked), models)


def _rows(user: User, files: Resident, wanted: str | None) -> Iterator[dict[str, Any]]:
    """One row for each model of a process; none when it ended meanwhile."""
    try:
        mapped = proc.mapped(user.pid, files.device)
        total = proc.totals(user.pid)
        who = {
            "pid": user.pid,
            "user": proc.user(user.pid),
            "container": proc.place(user.pid),
            "command": proc.command(user.pid),
        }
    except OSError:
        return
    sizes = {inode: mapped[inode].nbytes for inode in user.segments if inode in mapped}
    for model, inodes in _shares(user, sizes, files.manifests).items():
        if model.is_meant_by(wanted):
            yield {
                **who,
                "tenant": model.tenant,
                "model": model.name,
                "fingerprint": model.fingerprint,
                "bytes_mapped": sum(sizes[i] for i in inodes),
                "bytes_proportional": sum(mapped[i].proportional for i in inodes),
                "bytes_copied": sum(mapped[i].copied for i in inodes),
                "bytes_unlinked": sum(sizes[i] for i in inodes & user.unlinked),
                "process_private": total.private,
                "process_proportional": total.proportional,
            }


def _shares(
    user: User, sizes: dict[int, int], manifests: dict[tuple[str, str], Manifest]
) -> dict[Model, set[int]]:
    """Which of the mapped segments, by inode, count for which model."""
    named = {
        Model(tenant, fingerprint, manifest.name): _of(manifest, user, sizes)
        for (tenant, fingerprint), manifest in manifests.items()
    }
    found = {model: named[model] for model in user.models if model in named}
    rest = set(sizes) - set().union(*found.values())
    unread = user.models - set(named)
    if rest and len(unread) == 1:
        # Its manifest is gone, or not ours to read, and the lease says that the rest is its.
        return {**found, next(iter(unread)): rest}
    while rest:
        best = max(named, key=lambda model: _weight(named[model] & rest, sizes), default=Model())
        if not named.get(best, set()) & rest:
            return {**found, Model(): rest}
        found[best] = named[best]
        rest -= named[best]
    return found


def _of(manifest: Manifest, user: User, sizes: dict[int, int]) -> set[int]:
    return {inode for inode in sizes if user.segments[inode] in manifest.segments}


def _weight(inodes: set[int], sizes: dict[int, int]) -> int:
    return sum(sizes[inode] for inode in inodes)


def _check_known(text: str, files: Resident) -> None:
    known = [Model(tenant, hexed, m.name) for (tenant, hexed), m in files.manifests.items()]
    if known and not any(model.is_meant_by(text) for model in known):
        raise NotFoundError(f"no model {text[:80]!r} is published, and no process maps it")


def _text(rows: list[dict[str, Any]], refused: int) -> Body:
    cells = [
        (
            row["pid"],
            row["user"],
            row["model"],
            size(row["bytes_mapped"]),
            size(row["bytes_proportional"]),
            size(row["bytes_copied"]),
            size(row["process_private"]),
            size(row["process_proportional"]),
            row["container"].rpartition(" ")[2],
            _short(row["command"]),
        )
        for row in rows
    ]
    lines: list[str | Table] = [Table(_COLUMNS, cells) if rows else "no process maps it"]
    if unlinked := sum(row["bytes_unlinked"] for row in rows):
        lines.append(f"{size(unlinked)} of this has no name any more and goes with its processes")
    if refused:
        advice = ": `sudo -E tetrisctl ps` shows everything" if os.geteuid() else ""
        what = "1 process" if refused == 1 else f"{refused} processes"
        lines.append(f"{what} may not be read{advice}")
    return lines


def _short(command: str) -> str:
    """A command on one line, its program without the way to it."""
    program, *words = command.split() or [""]
    return " ".join((program.rpartition("/")[2] or program, *words))
