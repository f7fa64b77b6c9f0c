"""Where a client finds the daemon."""

from __future__ import annotations

import os
from pathlib import Path

DEFAULT_SOCKET = Path("/run/tetris/default/tetrisd.sock")
DEFAULT_ADMIN_SOCKET = Path("/run/tetris/admin/tetrisd.sock")


def socket_path(given: str | os.PathLike[str] | None = None) -> Path:
    """The daemon's socket: the argument, else ``TETRIS_SOCKET``, else the default."""
    return Path(given or os.environ.get("TETRIS_SOCKET") or DEFAULT_SOCKET)


def admin_socket_path(given: str | os.PathLike[str] | None = None) -> Path:
    """The administrators' socket: the argument, else ``TETRIS_ADMIN_SOCKET``, else the default."""
    return Path(given or os.environ.get("TETRIS_ADMIN_SOCKET") or DEFAULT_ADMIN_SOCKET)


def view_path(reported: str, socket: Path, lease: str) -> Path:
    """The directory of this tenant's segments, for which ``lease`` was just granted.

    ``TETRIS_VIEW``, else the directory of ``socket`` where the lease is in that, else what the
    daemon reported: every view has a socket too, so that a container needs one mount, anywhere.
    """
    if given := os.environ.get("TETRIS_VIEW"):
        return Path(given)
    beside = socket.absolute().parent
    return beside if (beside / f"{lease}.lease").exists() else Path(reported)
