"""One lease held, and the way to the segments it protects."""

from __future__ import annotations

import os
from pathlib import Path

from tetris import shm
from tetris.errors import NotAllowedError, NotFoundError, TetrisError
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
            self._view_fd = os.open(view, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as failed:
            raise NotAllowedError(
                f"the segments at {view} cannot be opened ({failed.strerror}): "
                "mount the tenant's view here and name it in TETRIS_VIEW"
            ) from None
        try:
            name = f"{lease}.lease"
            nbytes = os.stat(name, dir_fd=self._view_fd).st_size
            self._lock = shm.map_segment(self._view_fd, name, nbytes)
        except FileNotFoundError:
            os.close(self._view_fd)
            raise NotFoundError(f"lease {lease} is gone from {view}") from None
        except TetrisError:
            os.close(self._view_fd)
            raise

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
