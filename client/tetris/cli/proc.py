"""What the kernel says of processes: whose they are, and what they map."""

from __future__ import annotations

import os
import pwd
import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
_DELETED = b" (deleted)"
# What engines and orchestrators call a container's control group, with either of their drivers.
_ENGINE = re.compile(
    r"(docker|libpod|crio|cri-containerd|nerdctl|buildah)[-/](?:pod[-/])?([0-9a-f]{64})"
)
_ID = re.compile(r"[0-9a-f]{32,64}")
_MACHINE = re.compile(
    r"/(?:machine\.slice/machine-|lxc(?:\.payload)?[./])([^/]+?)(?:\.scope)?(?:/|$)"
)
_COUNTED = {b"Pss:": "proportional", b"Anonymous:": "copied", b"ShmemPmdMapped:": "huge"}
_ENGINES = {"libpod": "podman", "cri-containerd": "containerd", "crio": "cri-o"}


class File(NamedTuple):
    """A mapped file.

    Attributes:
        name: last part of its path, as the process saw it when it opened the file.
        deleted: no directory shows it any more under that path.
    """

    inode: int
    name: str
    deleted: bool


@dataclass(slots=True)
class Mapped:
    """What a process maps of one file, in bytes.

    Attributes:
        parts: length of what is mapped from each offset: mapped twice, it counts once.
        proportional: its share of the resident pages, each divided by how many map it.
        copied: pages that it has written to, and so has for itself.
        huge: what it maps in huge pages.
    """

    parts: dict[int, int] = field(default_factory=dict)
    proportional: int = 0
    copied: int = 0
    huge: int = 0

    @property
    def nbytes(self) -> int:
        """Bytes of the file that are mapped."""
        return sum(self.parts.values())


class Totals(NamedTuple):
    """All the memory of a process."""

    private: int
    proportional: int


def pids() -> list[int]:
    """Every process that this one can see."""
    return sorted(int(name) for name in os.listdir(PROC) if name.isdigit())


def files_on(pid: int, device: int) -> set[File]:
    """The files of ``device`` that a process maps.

    Raises:
        OSError: it may not be read, or it has ended.
    """
    wanted = _device(device)
    maps = _proc(pid, "maps").read_bytes()
    if wanted not in maps:
        return set()
    rows = (line.split(None, 5) for line in maps.splitlines())
    return {_file(row) for row in rows if len(row) == 6 and row[3] == wanted}


def mapped(pid: int, device: int) -> dict[int, Mapped]:
    """How much of each file of ``device`` a process maps, by inode.

    Raises:
        OSError: it may not be read, or it has ended.
    """
    wanted = _device(device)
    found: dict[int, Mapped] = defaultdict(Mapped)
    current: Mapped | None = None
    for line in _proc(pid, "smaps").read_bytes().splitlines():
        words = line.split(None, 5)
        if not words[0].endswith(b":"):
            current = found[int(words[4])] if words[3] == wanted else None
            if current:
                start, end = (int(part, 16) for part in words[0].split(b"-"))
                offset = int(words[2], 16)
                current.parts[offset] = max(current.parts.get(offset, 0), end - start)
        elif current and (name := _COUNTED.get(words[0])):
            setattr(current, name, getattr(current, name) + (int(words[1]) << 10))
    return dict(found)


def totals(pid: int) -> Totals:
    """All the memory of a process.

    Raises:
        OSError: it may not be read, or it has ended.
    """
    rows = (line.split() for line in _proc(pid, "smaps_rollup").read_text().splitlines()[1:])
    sizes = {row[0].rstrip(":"): int(row[1]) << 10 for row in rows}
    return Totals(sizes["Private_Clean"] + sizes["Private_Dirty"], sizes["Pss"])


def user(pid: int) -> str:
    """Whose a process is: a name where this host, or container, knows one."""
    status = _proc(pid, "status").read_text()
    number = int(re.search(r"^Uid:\s+\d+\s+(\d+)", status, re.M)[1])  # type: ignore[index]
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def command(pid: int) -> str:
    """Its words with spaces between them; the kernel's name for it when it has wiped them."""
    words = _proc(pid, "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    text = b" ".join(words).decode(errors="replace").strip()
    return text or f"[{_proc(pid, 'comm').read_text(errors='replace').strip()}]"


def place(pid: int) -> str:
    """Its container, systemd unit or control group, in short."""
    return place_of(_proc(pid, "cgroup").read_text(errors="replace"))


def place_of(cgroup: str) -> str:
    """The same from the text of ``/proc/PID/cgroup``, of either version."""
    paths = [line.split(":", 2)[2] for line in cgroup.splitlines() if line.count(":") >= 2]
    for path in paths:
        if found := _ENGINE.search(path):
            return f"{_ENGINES.get(found[1], found[1])} {found[2][:12]}"
    for path in paths:
        if found := _MACHINE.search(path):
            return f"machine {found[1]}"
        if found := _ID.search(path):
            return found[0][:12]
    return next((unit for path in paths if (unit := _unit(path))), "-")


def _unit(path: str) -> str:
    parts = [part for part in path.split("/") if part not in ("", "..")]
    services = [part for part in parts if part.endswith((".service", ".scope"))]
    return (services or parts or [""])[-1]


def _proc(pid: int, name: str) -> Path:
    return PROC / str(pid) / name


def _device(device: int) -> bytes:
    return b"%02x:%02x" % (os.major(device), os.minor(device))


def _file(row: list[bytes]) -> File:
    deleted = row[5].endswith(_DELETED)
    path = row[5].removesuffix(_DELETED)
    return File(int(row[4]), path.rpartition(b"/")[2].decode(errors="replace"), deleted)
