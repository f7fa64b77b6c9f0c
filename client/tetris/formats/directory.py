"""Where a checkpoint's files are opened, and how small ones are read.

The reader never opens a path itself. The client hands it the plain file system; the daemon hands it
a directory that a tenant may read from, and opens beneath it without following a link out.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Protocol

from tetris.errors import InvalidModelError, NotAllowedError, NotFoundError, SystemCallError


class Directory(Protocol):
    """A place with files.

    Attributes:
        root: what its names are relative to, for messages and names people see; never opened.
    """

    @property
    def root(self) -> str: ...  # noqa: D102

    def open(self, name: str) -> int:
        """Open the file ``name`` for reading and return a descriptor that the caller closes.

        ``name`` may have several components. It must not wait for a pipe's other end.

        Raises:
            NotFoundError: there is none.
            NotAllowedError: it may not be read.
        """
        ...


class PlainDirectory:
    """The file system as this process sees it; links are followed.

    Args:
        root: a directory; empty for the process's own working directory.
    """

    def __init__(self, root: str = "") -> None:
        self.root = root

    def open(self, name: str) -> int:
        """Open ``name``, see ``Directory``."""
        path = os.path.join(self.root, name)
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise _explain(error, path) from None
        except ValueError:  # NUL, or a lone surrogate
            raise InvalidModelError(f"{path!r} is not a possible file name") from None


def read_file(fd: int, name: str, limit: int) -> bytes:
    """The whole of an open regular file.

    Raises:
        InvalidModelError: it is something else than a file, larger than ``limit`` bytes, or changes
            while it is read.
    """
    size = file_size(fd, name)
    if size > limit:
        raise too_large(name, size, limit)
    data = pread(fd, 0, size, name)
    if os.fstat(fd).st_size != size:
        raise InvalidModelError(f"{name} changes while it is read; wait for its writer")
    return data


def too_large(name: str, size: int, limit: int) -> InvalidModelError:
    """What to raise for a file beyond ``limit`` bytes."""
    return InvalidModelError(f"{name} has {size:,} bytes; the most Tetris reads of it is {limit:,}")


def file_size(fd: int, name: str) -> int:
    """The size of an open regular file.

    Raises:
        InvalidModelError: it is something else.
    """
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise InvalidModelError(f"{name} is not a regular file")
    return status.st_size


def pread(fd: int, offset: int, nbytes: int, name: str) -> bytes:
    """Exactly ``nbytes`` bytes from ``offset`` on.

    Raises:
        InvalidModelError: the file ends before.
        SystemCallError: the kernel cannot read it.
    """
    parts = []
    while nbytes:
        try:
            part = os.pread(fd, nbytes, offset)
        except OSError as error:
            raise SystemCallError("read", name, error.errno or errno.EIO) from None
        if not part:
            raise InvalidModelError(f"{name} ends {nbytes} bytes too early")
        parts.append(part)
        offset += len(part)
        nbytes -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _explain(error: OSError, path: str) -> NotFoundError | NotAllowedError | SystemCallError:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return NotFoundError(f"there is no {path}")
    if error.errno in (errno.EACCES, errno.EPERM):
        return NotAllowedError(f"{path} may not be read: permission denied")
    return SystemCallError("open", path, error.errno or errno.EIO)
