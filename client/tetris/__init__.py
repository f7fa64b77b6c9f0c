"""One copy of every weight per host.

::

    import tetris

    with tetris.attach("/models/vgg16/1") as model:   # publishes first if nobody has
        kernel = model["block1_conv1/kernel"]         # read-only, over shared memory

The daemon that keeps the copies is ``tetrisd``; its socket is the ``socket`` argument, the
environment variable ``TETRIS_SOCKET``, or ``/run/tetris/default/tetrisd.sock``.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING

from tetris import errors
from tetris.manifest import Manifest, Tensor

if TYPE_CHECKING:
    from tetris.model import Model
    from tetris.shm import digest

__version__ = "0.1.0"
__all__ = ["digest", "publish", "attach", "Manifest", "Model", "Tensor", "errors"]


def publish(
    path: str | os.PathLike[str], *, socket: str | os.PathLike[str] | None = None
) -> Manifest:
    """Make a model's tensors resident on this host; nothing happens when they are.

    Args:
        path: a SavedModel directory, a checkpoint prefix, or a directory with a ``checkpoint``
            file.
        socket: the daemon's.

    Raises:
        NotFoundError: there is no model.
        NotAllowedError: a file of it, or the socket, may not be opened.
        InvalidModelError: the files are not a model, or damaged (``CorruptDataError``).
        NoSpaceError: the store cannot hold it.
        ConflictError: too many publishers at once: try again.
        UnavailableError: no daemon answers.
    """
    from tetris.client import Client
    from tetris.formats.model import locate

    return Client(socket).publish(locate(os.fspath(path)))


def attach(path: str | os.PathLike[str], *, socket: str | os.PathLike[str] | None = None) -> Model:
    """Use a model from shared memory, publishing it first if nobody has.

    Args:
        path: as for :func:`publish`.
        socket: the daemon's.

    Raises:
        TetrisError: as :func:`publish`; a conflict only after ten minutes of trying again.
    """
    from tetris.client import Client
    from tetris.formats.model import locate
    from tetris.model import Model

    client = Client(socket)
    return Model(client.attach_or_publish(locate(os.fspath(path))), client.release)


# What the daemon, and a program that shares nothing, need not import.
_LATE = {"Model": "tetris.model", "digest": "tetris.shm"}


def __getattr__(name: str) -> object:
    if name in _LATE:
        return getattr(importlib.import_module(_LATE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
