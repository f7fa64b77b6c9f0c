"""Every error Tetris raises, for the client and the daemon alike.

::

    TetrisError
    ├── NotFoundError         no such model, segment or lease
    ├── NotAllowedError       outside what this socket may do
    ├── InvalidModelError     a checkpoint, table or request that cannot be right
    │   └── CorruptDataError  bytes that do not match their checksum
    ├── NoSpaceError          the store cannot hold it
    ├── ConflictError         somebody else has it: a root, a socket, a segment in use
    ├── UnavailableError      no daemon answers, or it gave up waiting
    └── SystemCallError       the kernel refused; names the call

A message is one sentence: what failed, on which name, and what to do when that is known.
"""

from __future__ import annotations

import os


class TetrisError(Exception):
    """Root of the tree."""


class NotFoundError(TetrisError):
    """No such model, segment or lease."""


class NotAllowedError(TetrisError):
    """Outside what this socket may do."""


class InvalidModelError(TetrisError):
    """A checkpoint, tensor table or request that cannot be right."""


class CorruptDataError(InvalidModelError):
    """Bytes that do not match their checksum."""


class NoSpaceError(TetrisError):
    """The store cannot hold it."""


class ConflictError(TetrisError):
    """Somebody else has it."""


class UnavailableError(TetrisError):
    """No daemon answers, or it gave up waiting."""


class SystemCallError(TetrisError):
    """The kernel refused a call.

    Attributes:
        errno: the positive error number.
    """

    def __init__(self, call: str, name: str, errno: int) -> None:
        self.errno = errno
        super().__init__(f"{call} {name}: {os.strerror(errno)}")
