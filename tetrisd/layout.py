"""The layout of a root, and the way from an older one."""

from __future__ import annotations

import os
from contextlib import ExitStack

from tetris.errors import InvalidModelError
from tetrisd import files, steps

LAYOUT = 2


def bring_up_to_date(top: int, path: str) -> None:
    """Give a new root its version; move what an older daemon left to where it belongs now.

    The version is written last, and each move is one rename: after a crash in between the next
    start goes on. Mappings and locks are on the files, so nobody who uses them notices.

    Raises:
        InvalidModelError: a newer daemon wrote it, or nothing that ever was one.
    """
    found = _version(top)
    if found not in ("", "1", str(LAYOUT)):
        raise InvalidModelError(
            f"root {path} has layout {found}, this tetrisd knows up to {LAYOUT}: "
            "name another root, or run the version that wrote it"
        )
    if found == "1":
        with steps.of("migrate"), ExitStack() as undo:
            _from_1(undo, top)
    if found != str(LAYOUT):
        files.write(top, "version", f"{LAYOUT}\n".encode(), 0o644)


def _version(top: int) -> str:
    try:
        return files.read(top, "version")[:64].decode(errors="replace").strip()
    except FileNotFoundError:
        return ""
    except OSError as failed:
        raise InvalidModelError(f"version in the root: {failed.strerror}") from None


def _from_1(undo: ExitStack, top: int) -> None:
    """Layout 1 had one tenant, its segments in ``objects/`` and its leases in ``leases/``."""
    for parent_name, child_name in (("objects", "_shared"), ("leases", "default")):
        parent = files.directory(undo, top, parent_name, 0o700)
        child = files.directory(undo, parent, child_name, 0o700)
        files.sweep_drafts(parent)
        for entry in files.entries(parent):
            if entry.is_file(follow_symlinks=False):
                os.rename(entry.name, entry.name, src_dir_fd=parent, dst_dir_fd=child)
                steps.reached("migrate: moved")
