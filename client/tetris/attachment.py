"""One lease held, and the way to the segments it protects."""

from __future__ import annotations

import os
from pathlib import Path

from tetris import shm
from tetris.errors import NotAllowedError, NotFoundError
from tetris.manifest import Manifest, Tensor


class Attachment:
    """One lease held: the descriptor of the view, and the lock on the lease file.

    The lock lives with a mapping of the lease file, exactly as a segment's reference does: a fork
    shares it, and the kernel drops it when the last holder is gone.
    """

    def __init__(self, view: Path, lease: str, manifest: Manifest) -> None:
        self.lease = lease
        self.manifest = manifest
        self.view = view
        try:
            fd = os.open(view, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as failed:
            raise _no_view(view, failed.strerror) from None
        try:
            self._lock = _lock(fd, f"{lease}.lease")
        except (OSError, NotFoundError):
            os.close(fd)
            raise _no_view(view, f"lease {lease} is not there") from None
        except BaseException:
            os.close(fd)
            raise
        # Last, so that __del__ closes what is still ours to close.
        self._view_fd = fd

    def map(self, tensor: Tensor, *, writable: bool = False) -> shm.Mapping:
        """Map the segment of ``tensor``, which has one.

        Raises:
            NotFoundError: the segment is gone, which a held lease rules out.
        """
        return shm.map_segment(self._view_fd, tensor.segment, tensor.nbytes, writable=writable)

    def __del__(self) -> None:
        fd = getattr(self, "_view_fd", -1)
        if fd >= 0:
            os.close(fd)


def _lock(view_fd: int, name: str) -> shm.Mapping:
    return shm.map_segment(view_fd, name, os.stat(name, dir_fd=view_fd).st_size)


def _no_view(view: Path, why: str | None) -> NotAllowedError:
    return NotAllowedError(
        f"the segments at {view} cannot be used ({why}): mount the tenant's view of this daemon "
        "in the place of the socket's directory, or name in TETRIS_VIEW where it is"
    )
