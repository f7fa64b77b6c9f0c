"""Models the daemon may read itself: files below allowed roots, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from tetris.errors import InvalidModelError, NotAllowedError
from tetris.formats.model import locate
from tetris.formats.shards import Shards
from tetris.shm import open_beneath
from tetrisd.sources import FileSource

# Sentences about a model repeat its path up to three times, and gRPC drops a status that has more
# than 8 KiB once every byte that is not ASCII has become three.
_MAX_PATH = 800


class _Beneath:
    """A directory whose files are opened without ever following a link out of it."""

    def __init__(self, root: str, dirfd: int) -> None:
        self.root = root
        self._dirfd = dirfd

    def open(self, name: str) -> int:
        """Open ``name`` below the root.

        Raises:
            NotAllowedError: it leads outside.
        """
        return open_beneath(self._dirfd, name, os.O_RDONLY)


class Library:
    """The allowed roots.

    Args:
        roots: directories; a client's path is looked up below them, as it is spelled.
    """

    def __init__(self, roots: Sequence[Path]) -> None:
        self._roots = [PurePosixPath(root.absolute()) for root in roots]

    @contextmanager
    def open(self, text: str) -> Iterator[FileSource]:
        """The model at absolute path ``text``.

        Raises:
            NotAllowedError: not below a root, a link on the way leads out of it, or nobody could
                read a sentence with that path.
            NotFoundError: there is no model.
            InvalidModelError: it is none that can be right.
        """
        if not text.startswith("/") or ".." in text.split("/") or "\0" in text:
            raise InvalidModelError(f"model path {text[:200]!r}: give an absolute one without '..'")
        if len(text.encode()) > _MAX_PATH or not text.isprintable():
            raise NotAllowedError(
                f"model path {text[:200]!r} has more than {_MAX_PATH} bytes or cannot be printed: "
                "send the bytes"
            )
        path = PurePosixPath(os.path.normpath("/" + text.lstrip("/")))
        root = next((r for r in self._roots if path.is_relative_to(r)), None)
        if root is None:
            raise NotAllowedError(
                f"{text[:200]} is below no directory that this daemon reads models from: "
                "start tetrisd with --model-root, or send the bytes"
            )
        try:
            dirfd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as failed:
            raise NotAllowedError(f"model root {root}: {failed.strerror}") from None
        try:
            below = "/".join(path.relative_to(root).parts)
            files = locate(below, _Beneath(str(root), dirfd))
            with Shards(files) as shards:
                yield FileSource(shards)
        finally:
            os.close(dirfd)
