"""A model in use: its manifest, its lease, and its tensors as arrays over the segments."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any

import numpy as np

from tetris import shm
from tetris.array import SharedArray
from tetris.attachment import Attachment
from tetris.errors import InvalidModelError, NotFoundError
from tetris.formats.dtypes import BY_NAME
from tetris.manifest import Tensor


class Model(Mapping[str, np.ndarray]):
    """An attached model: a read-only mapping from tensor names to arrays.

    Use it as a context manager, or call :meth:`release`. Arrays stay valid for as long as anything
    holds them, released or not: the mapping is the reference. Safe to use from any thread.

    Attributes:
        manifest: what the model consists of.
    """

    def __init__(self, attachment: Attachment, on_release: Callable[[str], None]) -> None:
        self.manifest = attachment.manifest
        self._attachment: Attachment | None = attachment
        self._on_release = on_release
        self._tensors = {t.name: t for t in self.manifest.tensors}
        self._mappings: dict[bytes, shm.Mapping] = {}
        self._pid = os.getpid()

    def __getitem__(self, name: str) -> np.ndarray:
        """The tensor as a read-only array over the shared segment, 64-byte aligned.

        Strings come as an array of ``bytes`` objects, which is this process's own.

        Raises:
            KeyError: the model has no such tensor.
            NotFoundError: the model was released.
        """
        return self._array(self._tensors[name], writable=False)

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def __contains__(self, name: object) -> bool:
        return name in self._tensors

    # A model is itself: comparing arrays, as a mapping would, has no single answer.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def tensor(self, name: str, *, writable: bool = False) -> np.ndarray:
        """The tensor as an array; ``writable`` gives a private copy-on-write one.

        Every writable array is a mapping of its own: writes are seen by its holder alone, and cost
        the pages they touch.

        Raises:
            NotFoundError: the model has no such tensor.
        """
        if name not in self._tensors:
            raise NotFoundError(f"model {self.manifest.name} has no tensor {name!r}")
        return self._array(self._tensors[name], writable=writable)

    def release(self) -> None:
        """Stop using the model; arrays handed out stay valid. Doing it twice is fine."""
        attachment, self._attachment = self._attachment, None
        self._mappings = {}
        if attachment is not None:
            lease = attachment.lease
            del attachment
            # A fork's child shares the lease of its parent: it is the parent's to give back.
            if os.getpid() == self._pid:
                self._on_release(lease)

    def __enter__(self) -> Model:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def _array(self, tensor: Tensor, *, writable: bool) -> np.ndarray:
        if tensor.dtype == "string":
            strings = np.empty(len(tensor.strings), dtype=object)
            strings[:] = tensor.strings
            strings.flags.writeable = writable
            return strings.reshape(tensor.shape)
        dtype = _numpy_dtype(tensor)
        if not tensor.nbytes:
            empty = np.empty(tensor.shape, dtype)
            empty.flags.writeable = writable
            return empty if writable else empty.view(SharedArray)
        flat = np.frombuffer(self._mapping(tensor, writable=writable).buffer(), dtype)
        array = flat.reshape(tensor.shape)
        return array if writable else array.view(SharedArray)

    def _mapping(self, tensor: Tensor, *, writable: bool) -> shm.Mapping:
        # No lock: a child forked while another thread held it would wait for ever. Two threads may
        # map the same segment at once; the one that comes second is dropped.
        attachment, mappings = self._attachment, self._mappings
        if attachment is None:
            raise NotFoundError(
                f"model {self.manifest.name} was released: attach it again for {tensor.name!r}"
            )
        if writable:
            return attachment.map(tensor, writable=True)
        mapping = mappings.get(tensor.digest)
        return mapping or mappings.setdefault(tensor.digest, attachment.map(tensor))


def _numpy_dtype(tensor: Tensor) -> Any:
    """The numpy type; those numpy lacks come from ml_dtypes, which TensorFlow brings along.

    Raises:
        InvalidModelError: neither knows it.
    """
    known = BY_NAME.get(tensor.dtype)
    name = known.numpy if known else tensor.dtype
    try:
        return np.dtype(name)
    except TypeError:
        pass
    try:
        import ml_dtypes

        return np.dtype(getattr(ml_dtypes, name))
    except (ImportError, AttributeError):
        raise InvalidModelError(
            f"tensor {tensor.name!r} is {tensor.dtype}: install a newer ml_dtypes to read it"
        ) from None
