"""What file system a directory is on, and whether it gives huge pages."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from tetris.errors import NotFoundError

_SHMEM_SWITCH = Path("/sys/kernel/mm/transparent_hugepage/shmem_enabled")


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of ``/proc/self/mountinfo``."""

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
    found = None
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        fields, (kind, _, options) = before.split(), after.split()[:3]
        if fields[2] == f"{os.major(device)}:{os.minor(device)}":
            # A bind mount repeats the device; all lines of one tmpfs carry the same options.
            found = Mount(fields[4], kind, frozenset(options.split(",")))
    if found is None:
        raise NotFoundError(f"{name} is on no mount that this process sees")
    return found


def gives_huge_pages(mount: Mount) -> bool:
    """Whether segments on ``mount`` get huge pages: its option, unless the host overrides it."""
    try:
        switch = _SHMEM_SWITCH.read_text()
    except OSError:
        return False
    if "[deny]" in switch:
        return False
    return "[force]" in switch or mount.huge in ("always", "within_size")
