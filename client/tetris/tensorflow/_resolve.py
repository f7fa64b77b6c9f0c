"""From a checkpoint prefix to the segments that hold its tensors."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tetris.errors import NotFoundError

if TYPE_CHECKING:
    from tetris.client import Client
    from tetris.formats import CheckpointFiles


@dataclass(frozen=True)
class SharedTensor:
    """One tensor of an attached model.

    Attributes:
        name: as the checkpoint has it.
        dtype: as numpy, ml_dtypes or TensorFlow spell it.
        shape: in elements.
        digest: 64 hex digits, the segment's file name in the view; empty when ``nbytes`` is 0.
        nbytes: of the segment.
    """

    name: str
    dtype: str
    shape: Sequence[int]
    digest: str
    nbytes: int


@dataclass(frozen=True)
class Attachment:
    """A model that can be mapped.

    Attributes:
        view: directory of the segments, as this process sees it.
        lease: name of the lock file in it; None attaches anonymously.
        tensors: all of the model's, those without a segment (strings) left out.
    """

    view: str
    lease: str | None
    tensors: Sequence[SharedTensor]


@dataclass(frozen=True)
class Resolved:
    """What a prefix stands for right now.

    Attributes:
        fingerprint: 32 bytes, the model's identity.
        attach: attaches it; only called when this process has not. The lease is held at least until
            the context ends.
    """

    fingerprint: bytes
    attach: Callable[[], AbstractContextManager[Attachment]]


Resolver = Callable[[str], Resolved]
"""Resolves the prefix of a restore, anew each time: the checkpoint may have been overwritten.

It may be called on any thread, and raise anything: the restore then goes the stock way.
"""


def through_daemon(socket: str | None, *, publish: bool) -> Resolver:
    """The resolver that asks the daemon.

    Args:
        socket: the daemon's; None for ``TETRIS_SOCKET`` or the default.
        publish: have the daemon publish a model that it does not know.
    """

    # Imported here and not with the module: a program may enable sharing before anything else, and
    # the first restore should not wait for it.
    from tetris.client import Client
    from tetris.formats import locate_prefix

    client = Client(socket)

    def resolve(prefix: str) -> Resolved:
        if "://" in prefix:
            raise NotFoundError(f"the checkpoint {prefix} is not on a local file system")
        with _told(client, prefix):
            files = locate_prefix(os.path.abspath(prefix))
        return Resolved(files.fingerprint, lambda: _attached(client, files, publish=publish))

    return resolve


@contextmanager
def _told(client: Client, prefix: str) -> Iterator[None]:
    """The daemon hears of what is loaded without it, too."""
    try:
        yield
    except Exception as failed:
        client.tell_of_fallback(prefix, failed)
        raise


@contextmanager
def _attached(client: Client, files: CheckpointFiles, *, publish: bool) -> Iterator[Attachment]:
    with _told(client, files.prefix):
        held = client.attach_or_publish(files) if publish else client.attach(files.fingerprint)
    yield Attachment(
        view=str(held.view),
        lease=f"{held.lease}.lease",
        tensors=[
            SharedTensor(t.name, t.dtype, t.shape, t.segment, t.nbytes)
            for t in held.manifest.tensors
            if t.dtype != "string"
        ],
    )
    # The table has the lease's lock too by now; this end of it goes with `held`.
