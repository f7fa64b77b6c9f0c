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


def view_path(reported: str) -> Path:
    """The directory of this tenant's segments: ``TETRIS_VIEW``, else what the daemon reported.

    In a container the view is usually mounted elsewhere than on the host.
    """
    return Path(os.environ.get("TETRIS_VIEW") or reported)
