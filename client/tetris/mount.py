"""What file system a directory is on, and whether it gives huge pages."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from tetris.errors import NotFoundError

SHMEM_SWITCH = Path("/sys/kernel/mm/transparent_hugepage/shmem_enabled")
_ESCAPE = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of ``/proc/self/mountinfo``.

    Attributes:
        root: directory of the file system that is mounted there; one that is gone ends in
            ``//deleted``.
        point: where.
        options: of this mount and of the file system.
    """

    device: str
    root: str
    point: str
    kind: str
    options: frozenset[str]

    @property
    def huge(self) -> str:
        """The tmpfs's ``huge=`` option; ``never`` when it has none."""
        return next((o[5:] for o in self.options if o.startswith("huge=")), "never")


def mount_of(device: int, name: str) -> Mount:
    """The mount that device number ``device``, that of the file ``name``, belongs to.

    Raises:
        NotFoundError: this process sees none.
    """
    number = f"{os.major(device)}:{os.minor(device)}"
    # A bind mount repeats the device; all lines of one tmpfs carry the same options.
    found = [mount for mount in mounts() if mount.device == number]
    if not found:
        raise NotFoundError(f"{name} is on no mount that this process sees")
    return found[-1]


def mounts() -> list[Mount]:
    """Every mount that this process sees, the uppermost last."""
    return [_mount(line) for line in Path("/proc/self/mountinfo").read_text().splitlines()]


def _mount(line: str) -> Mount:
    before, _, after = line.partition(" - ")
    fields, (kind, _, options) = before.split(), after.split()[:3]
    root, point = (_ESCAPE.sub(lambda m: chr(int(m[1], 8)), field) for field in fields[3:5])
    both = frozenset(f"{fields[5]},{options}".split(","))
    return Mount(fields[2], root, point, kind, both)


def gives_huge_pages(mount: Mount) -> bool:
    """Whether segments on ``mount`` get huge pages: its option, unless the host overrides it."""
    try:
        switch = SHMEM_SWITCH.read_text()
    except OSError:
        return False
    if "[deny]" in switch:
        return False
    return "[force]" in switch or mount.huge in ("always", "within_size")
