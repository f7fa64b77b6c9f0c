"""The service of this host: ``tetrisctl install`` puts it there, ``uninstall`` takes it away."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import tetris
from tetris.cli.answer import Answer
from tetris.cli.completion import SCRIPTS
from tetris.errors import ConflictError, NotAllowedError, NotFoundError, UnavailableError
from tetris.settings import DEFAULT_SOCKET

_SERVICE = "tetrisd.service"
_MOUNT = "dev-shm-tetris.mount"
_COMPLETION = "tetrisctl.bash"
_USER = "tetris"
_CONFIG = Path("/etc/tetris/tetrisd.toml")
_MEMORY = Path("/dev/shm/tetris")  # noqa: S108
_SOCKETS = Path("/run/tetris")
_DROP_INS = tuple(Path(f"/etc/systemd/system/{unit}.d") for unit in (_SERVICE, _MOUNT))
# What the units are written for, and what the service's sandbox hides from it.
_BIN_AS_SHIPPED = "/opt/tetris/bin"
_HIDDEN = tuple(Path(p) for p in ("/home", "/root", "/run/user", "/tmp", "/var/tmp"))  # noqa: S108
_BETTER = "python3 -m venv /opt/tetris && /opt/tetris/bin/pip install 'tetris-serving[daemon]'"

# What systemd takes in a command as it is: no space, no quote, no specifier.
_IN_A_UNIT = re.compile(r"[\w/.+@:=~,-]+")

# Below the prefix: where each file goes.
_FILES = {
    _MOUNT: f"lib/systemd/system/{_MOUNT}",
    _SERVICE: f"lib/systemd/system/{_SERVICE}",
    "sysusers.d/tetris.conf": "lib/sysusers.d/tetris.conf",
    "tmpfiles.d/tetris.conf": "lib/tmpfiles.d/tetris.conf",
    "tetrisctl.1": "share/man/man1/tetrisctl.1",
    _COMPLETION: "share/bash-completion/completions/tetrisctl",
}
# Directories that every system has: not ours to remove, if we leave them empty.
_COMMON = ("", "bin", "lib", "share", "share/man")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the files go.

    Attributes:
        root: of the file system; ``/`` for this host.
        prefix: as the installed system sees it, like ``bin``.
        bin: directory of tetrisd and tetrisctl.
    """

    root: Path
    prefix: Path
    bin: Path

    @property
    def is_this_host(self) -> bool:
        """Whether there is a service to start, and not only files to write."""
        return self.root == Path("/")

    def at(self, path: Path) -> Path:
        """Where the installed system's ``path`` is now."""
        return self.root / path.relative_to("/")

    def file(self, name: str) -> Path:
        """Where a file of the table goes."""
        return self.at(self.prefix / _FILES[name])

    @property
    def command(self) -> Path:
        """Where a link makes ``tetrisctl`` a command for everybody."""
        return self.at(self.prefix / "bin" / "tetrisctl")

    @property
    def link(self) -> Path:
        """What the link says: relative, by which it is told from one that pipx made."""
        return Path(os.path.relpath(self.bin / "tetrisctl", self.prefix / "bin"))


def install(arguments: argparse.Namespace) -> Answer:
    """Write the units, the user and the settings; start the service, and wait until it answers."""
    place = _place(arguments)
    if place.is_this_host:
        _need_root("install")
        _check_environment(place)
        _check_memory()
    try:
        written = _write(place)
    except OSError as failed:
        raise NotAllowedError(f"{failed.filename} cannot be written: {failed.strerror}") from None
    lines = [f"wrote {path}" for path in written]
    if place.at(_CONFIG) not in written:
        lines.append(f"kept {place.at(_CONFIG)}")
    started = place.is_this_host and _bring_up(place, start=not arguments.no_start)
    if place.is_this_host:
        lines += ["", *_next_steps(started)]
    data = {"written": [str(p) for p in written], "started": started}
    return Answer(data, lines)


def uninstall(arguments: argparse.Namespace) -> Answer:
    """Stop the service and remove what ``install`` wrote; processes keep the models they map."""
    place = _place(arguments)
    if place.is_this_host:
        _need_root("uninstall")
    installed = place.file(_SERVICE).exists()
    if place.is_this_host and installed:
        _take_down()
    removed = [path for path in _ours(place) if _remove(path, place)]
    if place.is_this_host and installed:
        removed += _clear_up(place)
    kept = [p for p in (_CONFIG.parent, *_DROP_INS) if place.at(p).exists()]
    if arguments.purge:
        removed += [place.at(p) for p in kept if _remove(place.at(p), place)]
        kept = []
    lines = [f"removed {path}" for path in removed]
    lines += [f"kept {p}: {place.bin}/tetrisctl uninstall --purge removes it" for p in kept]
    lines += _forget_user(place, purge=arguments.purge)
    data = {"removed": [str(p) for p in removed], "kept": [str(p) for p in kept]}
    return Answer(data, lines or "nothing was installed")


def _place(arguments: argparse.Namespace) -> Place:
    root = Path(arguments.root).absolute()
    found = Path(arguments.bindir or sysconfig.get_path("scripts")).absolute()
    if not _IN_A_UNIT.fullmatch(str(found)):
        raise NotAllowedError(f"{found}: a unit cannot name it, give a path of plain characters")
    if root != Path("/") and found.is_relative_to(root):
        found = Path("/") / found.relative_to(root)
    return Place(root, Path("/") / arguments.prefix, found)


def _need_root(what: str) -> None:
    if os.geteuid() != 0:
        raise NotAllowedError(f"{what} changes the system: run it as root, or name a --root")


def _check_environment(place: Place) -> None:
    """Refuse what the service could not start from."""
    daemon = place.bin / "tetrisd"
    needed = (daemon, Path(sys.executable).resolve(), Path(tetris.__file__).resolve())
    for path in needed:
        hidden = next((h for h in _HIDDEN if path.is_relative_to(h)), None)
        if hidden is not None:
            raise NotAllowedError(
                f"{path} is below {hidden}, which is hidden from the service: "
                f"install from an environment that is not, by {_BETTER}"
            )
        closed = next((p for p in path.parents if not p.stat().st_mode & stat.S_IXOTH), None)
        if closed is not None:
            raise NotAllowedError(f"user {_USER} cannot enter {closed}: run chmod o+rx {closed}")
    if not daemon.exists():
        raise NotFoundError(f"{daemon} does not exist: install from its environment, by {_BETTER}")
    tried = subprocess.run([daemon, "--help"], capture_output=True, text=True)  # noqa: S603
    if tried.returncode:
        why = tried.stderr.strip().rpartition("\n")[2]
        raise NotFoundError(f"{daemon} does not run: {why}: pip install 'tetris-serving[daemon]'")


def _check_memory() -> None:
    """Refuse to mount over segments, which would take memory and be in nobody's reach."""
    if _MEMORY.is_dir() and not os.path.ismount(_MEMORY) and any(_MEMORY.iterdir()):
        raise ConflictError(
            f"{_MEMORY} holds what a daemon without a mount of its own left: stop it, and remove it"
        )


def _shipped(name: str) -> str | None:
    """Text of a file; None where the package did not bring it: there is no page from sources."""
    if name == _COMPLETION:
        return SCRIPTS["bash"]
    file = files("tetris").joinpath("share", *name.split("/"))
    return file.read_text() if file.is_file() else None


def _write(place: Place) -> list[Path]:
    """Write all of the table that is shipped, the link, and the settings if there are none."""
    written = []
    for name in _FILES:
        text = _shipped(name)
        if text is not None:
            bound = text.replace(_BIN_AS_SHIPPED, str(place.bin))
            written.append(_put(place.file(name), bound))
    if not os.path.lexists(place.command):
        place.command.parent.mkdir(parents=True, exist_ok=True)
        place.command.symlink_to(place.link)
        written.append(place.command)
    if not place.at(_CONFIG).exists():
        written.append(_put(place.at(_CONFIG), _shipped(_CONFIG.name) or ""))
    return written


def _put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink():  # a masked unit's is to /dev/null: what it leads to is not ours
        path.unlink()
    path.write_text(text)
    path.chmod(0o644)
    return path


def _bring_up(place: Place, *, start: bool) -> bool:
    """Make the user, tell systemd, and start; whether the service answers now."""
    _run("systemd-sysusers", str(place.file("sysusers.d/tetris.conf")))
    if not _systemd_runs():
        if start:
            raise UnavailableError("systemd does not run here: all is written, nothing is started")
        return False
    _run("systemd-tmpfiles", "--create", str(place.file("tmpfiles.d/tetris.conf")))
    _run("systemctl", "daemon-reload")
    if not start:
        return False
    _run("systemctl", "--quiet", "enable", _SERVICE)
    try:
        # Not `start`: one that runs already is of the version before. It returns when it is ready.
        _run("systemctl", "restart", _SERVICE)
    except ConflictError:
        said = _run("journalctl", "--unit", _SERVICE, "-t", "tetrisd", "-n1", "-o", "cat").strip()
        raise UnavailableError(
            f"tetrisd does not start: {said or 'it says nothing'}; see journalctl -u tetrisd"
        ) from None
    return True


def _next_steps(started: bool) -> Iterator[str]:
    if not started:
        yield "start it: systemctl enable --now tetrisd"
    else:
        yield f"tetrisd is ready on {DEFAULT_SOCKET}"
    yield "let a user share:      usermod -aG tetris USER"
    yield "share a model:         tetrisctl publish DIRECTORY"
    yield f"change the settings:   edit {_CONFIG}, then systemctl reload tetrisd"
    yield "see what it saves:     tetrisctl stat"
    yield "see what it does:      journalctl -u tetrisd"


def _take_down() -> None:
    """Stop the service and its mount, in this order: processes keep what they map of it."""
    if not _systemd_runs():
        return
    _run("systemctl", "--quiet", "disable", "--now", _SERVICE)
    _run("systemctl", "--quiet", "stop", _MOUNT)
    for unit in (_SERVICE, _MOUNT):
        _run("systemctl", "--quiet", "reset-failed", unit, check=False)


def _clear_up(place: Place) -> Iterator[Path]:
    if _systemd_runs():
        _run("systemctl", "daemon-reload")
    if _remove(_SOCKETS, place):
        yield _SOCKETS
    with suppress(OSError):  # not there, or another daemon's
        _MEMORY.rmdir()
        yield _MEMORY


def _ours(place: Place) -> Iterator[Path]:
    yield from (place.file(name) for name in _FILES)
    if place.command.is_symlink() and place.command.readlink() == place.link:
        yield place.command


def _remove(path: Path, place: Place) -> bool:
    """Remove a file, or a directory with all in it, and the directories left empty above it."""
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as failed:
        raise NotAllowedError(f"{path} cannot be removed: {failed.strerror}") from None
    common = {place.at(place.prefix / name) for name in _COMMON}
    with suppress(OSError):
        for parent in path.parents:
            if parent in common or not parent.is_relative_to(place.at(place.prefix)):
                break
            parent.rmdir()
    return True


def _forget_user(place: Place, *, purge: bool) -> Iterator[str]:
    if not place.is_this_host or not _run("getent", "passwd", _USER, check=False):
        return
    if purge and shutil.which("userdel"):
        _run("userdel", _USER)
        if _run("getent", "group", _USER, check=False):  # it stays when it has other members
            _run("groupdel", _USER)
        yield f"removed user and group {_USER}"
    else:
        yield f"kept user {_USER}: userdel {_USER} removes it"


def _systemd_runs() -> bool:
    return Path("/run/systemd/system").is_dir()


def _run(*command: str, check: bool = True) -> str:
    """What a command prints.

    Raises:
        NotFoundError: there is no such command.
        ConflictError: it failed.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603
    except FileNotFoundError:
        raise NotFoundError(f"{command[0]} does not exist: this needs systemd") from None
    if check and done.returncode:
        why = done.stderr.strip().rpartition("\n")[2] or f"status {done.returncode}"
        raise ConflictError(f"{' '.join(command)}: {why}")
    return done.stdout
