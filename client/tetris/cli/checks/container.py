"""What a container must have mounted: the directory of the socket, and the view."""

from __future__ import annotations

import os
from itertools import islice

from tetris.cli.checks import Finding, failure, ok, warning
from tetris.cli.checks.daemon import join
from tetris.cli.checks.surroundings import Surroundings
from tetris.errors import NotFoundError, TetrisError
from tetris.mount import mount_of
from tetris.rpc import Rpc
from tetris.v1 import tetris_pb2 as pb


def socket_directory(at: Surroundings) -> Finding | None:
    """The socket's directory is mounted, and not the socket alone."""
    socket = at.socket.absolute()
    above = {str(parent) for parent in socket.parents if str(parent) != "/"}
    for mount in reversed(at.mounts):
        if mount.root.endswith("//deleted") and mount.point in (*above, str(socket)):
            return failure(
                f"{mount.point} is mounted from a directory that is gone: the daemon was restarted",
                _restart(at),
            )
        if mount.point == str(socket):
            return warning(
                f"{socket} itself is mounted: the socket of a restarted daemon will not show here",
                at.one_mount,
            )
    if not at.guest:
        return None
    if not any(mount.point in above for mount in at.mounts):
        return failure(
            f"{socket.parent} is not mounted into this container",
            at.one_mount,
        )
    return ok(f"{socket.parent} is mounted")


def view(at: Surroundings) -> Finding | None:
    """The tenant's view is here, read-only in a container, and this daemon's."""
    named = "TETRIS_VIEW" in os.environ
    if not at.guest and not named and at.mount is None:
        return None
    fix = at.one_mount if at.guest else "unset TETRIS_VIEW"
    try:
        found = os.stat(at.view)
        kind = mount_of(found.st_dev, str(at.view)).kind
        read_only = os.statvfs(at.view).f_flag & os.ST_RDONLY
        os.stat(at.view / ".")
    except PermissionError:
        return failure(f"this user may not enter the view {at.view}", join(at.view))
    except (OSError, NotFoundError):
        return failure(f"there is no view at {at.view}", fix)
    if kind != "tmpfs":
        return failure(f"{at.view} is on {kind}: it is not the mounted view", fix)
    if missing := _missing(at):
        return failure(
            f"{at.view} lacks segment {missing}: it is not the view of the daemon at {at.socket}",
            _restart(at) if at.guest else fix,
        )
    if at.guest and not read_only:
        return warning(f"the view {at.view} is mounted writable into this container", at.one_mount)
    known = "is here" if isinstance(at.stats, TetrisError) else "is the daemon's"
    return ok(f"the view {at.view} {known}{', read-only' if read_only else ''}")


def _missing(at: Surroundings) -> str:
    """A segment that the daemon has and the view does not."""
    if isinstance(at.stats, TetrisError):
        return ""
    try:
        with Rpc(at.socket).stub() as stub:
            answers = stub.ListSegments(pb.ListSegmentsRequest(), timeout=3.0)
            names = [segment.digest.hex() for segment in islice(answers, 20)]
    except TetrisError:
        return ""
    gone = [name for name in names if not (at.view / name).exists()]
    # One may just have been evicted; of a view of this daemon some are there.
    return gone[0][:12] if names and len(gone) == len(names) else ""


def _restart(at: Surroundings) -> str:
    return f"{at.engine} restart {os.uname().nodename}"
