"""The daemon: whether it answers, and what it runs in."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import socket
import stat
from pathlib import Path

from tetris import cgroup
from tetris.cli.checks import Finding, failure, note, ok, warning
from tetris.cli.checks.surroundings import SECONDS, UNIT, Surroundings, unit
from tetris.cli.tables import counted, size
from tetris.errors import TetrisError

_LEAST_FILES = 4096
_UNLIMITED = 1 << 60


def answers(at: Surroundings) -> Finding:
    """Somebody listens on the socket, lets this user in, and answers."""
    try:
        found = os.stat(at.socket)
    except PermissionError:
        return failure(f"this user may not enter {at.socket.parent}", join(at.socket.parent))
    except OSError as failed:
        return failure(f"no daemon at {at.socket} ({failed.strerror})", _start(at))
    if not stat.S_ISSOCK(found.st_mode):
        return failure(f"{at.socket} is no socket", f"sudo rm {at.socket} && {_start(at)}")
    refused = _connect(at.socket)
    if refused in (errno.EACCES, errno.EPERM):
        return failure(f"this user may not open {at.socket}", join(at.socket))
    if refused == errno.ECONNREFUSED:
        return failure(f"nobody listens on {at.socket}: its daemon has died", _start(at))
    if refused or isinstance(at.stats, TetrisError):
        why = os.strerror(refused) if refused else f"no answer within {SECONDS:.0f} s"
        return failure(f"the daemon at {at.socket} does not answer ({why})", _restart(at))
    what = f"{counted(at.stats.models, 'model')}, {size(at.stats.bytes_resident)}"
    return ok(f"{' '.join(('tetrisd', at.stats.version)).strip()} answers: {what}")


def service(at: Surroundings) -> Finding | None:
    """The unit is there, runs, starts with the host, and keeps its directory over a restart."""
    if at.guest:
        return None
    if not at.has_systemd:
        return note("systemd does not run this host: nothing restarts a daemon that died")
    state = unit(UNIT)
    if state.get("LoadState") != "loaded":
        return note(f"there is no {UNIT}: nothing restarts a daemon that died", "tetrisctl install")
    if state.get("ActiveState") != "active":
        active = state.get("ActiveState") or "in no known state"
        return failure(f"{UNIT} is {active}", f"sudo systemctl restart {UNIT}")
    if state.get("UnitFileState") not in ("enabled", "static", "enabled-runtime"):
        return warning(f"{UNIT} does not start with the host", f"sudo systemctl enable {UNIT}")
    if state.get("RuntimeDirectory") and state.get("RuntimeDirectoryPreserve") == "no":
        return warning(
            f"a restart of {UNIT} makes a new socket directory, unseen by running containers",
            f"sudo mkdir -p /etc/systemd/system/{UNIT}.d && "
            "printf '[Service]\\nRuntimeDirectoryPreserve=yes\\n' | "
            f"sudo tee /etc/systemd/system/{UNIT}.d/preserve.conf && sudo systemctl daemon-reload",
        )
    return ok(f"{UNIT} is active and starts with the host")


def open_files(at: Surroundings) -> Finding | None:
    """The daemon may open enough files: connections, publishes under way."""
    if not at.daemon_pid:
        return None
    limits = Path(f"/proc/{at.daemon_pid}/limits").read_text()
    words = next(line for line in limits.splitlines() if line.startswith("Max open files")).split()
    hard = int(words[4]) if words[4].isdigit() else _UNLIMITED
    if hard < _LEAST_FILES:
        return warning(
            f"the daemon may open {hard} files: connections will be refused",
            f"sudo prlimit --pid {at.daemon_pid} --nofile=65536:65536",
        )
    return ok(f"the daemon may open {words[4]} files")


def memory_limit(at: Surroundings) -> Finding | None:
    """The daemon's control group has room: it is charged for every segment."""
    if not at.daemon_pid:
        return None
    rooms = [
        (room, group)
        for group in cgroup.memory_groups(at.daemon_pid)
        if (room := cgroup.left(group)) is not None and room < _UNLIMITED
    ]
    version = f"control groups version {cgroup.version()}"
    if not rooms:
        return ok(f"the daemon has no memory limit ({version})")
    room, group = min(rooms)
    if room < 256 << 20:
        return warning(
            f"the daemon's memory limit leaves {size(max(0, room))}: publishes will be refused",
            f"sudo systemctl set-property {UNIT} MemoryMax=infinity",
        )
    return note(f"the daemon's memory limit leaves {size(room)} ({version}, {group})")


def _connect(path: Path) -> int:
    """0, or the number of the error."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(SECONDS)
        try:
            asking.connect(str(path))
        except TimeoutError:
            return errno.ETIMEDOUT
        except OSError as failed:
            return failed.errno or errno.EIO
    return 0


def _start(at: Surroundings) -> str:
    if at.guest:
        return at.one_mount
    if at.has_systemd and unit(UNIT).get("LoadState") == "loaded":
        return f"sudo systemctl restart {UNIT}"
    return f"sudo tetrisd --root {at.root} --socket {at.socket} &"


def _restart(at: Surroundings) -> str:
    if at.has_systemd and unit(UNIT).get("MainPID") == str(at.daemon_pid):
        return f"sudo systemctl restart {UNIT}"
    return f"sudo kill -KILL {at.daemon_pid} && {_start(at)}" if at.daemon_pid else _start(at)


def join(path: Path) -> str:
    """How this user gets into the group of a file."""
    user = pwd.getpwuid(os.geteuid()).pw_name
    try:
        found = os.stat(path)
        group = grp.getgrgid(found.st_gid)
    except (OSError, KeyError):
        return f"sudo ls -ld {path}  # then join its group"
    if not found.st_mode & 0o060:
        return f"sudo chmod g+rwX {path}"
    if user in group.gr_mem:
        return f"newgrp {group.gr_name}  # or log in again: you are in it since"
    return f"sudo usermod -aG {group.gr_name} {user} && newgrp {group.gr_name}"
