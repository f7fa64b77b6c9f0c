"""Attaching a model once per process, as a table that the restore kernel looks tensors up in."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

from tetris.shm import check, ffi, lib
from tetris.tensorflow._resolve import Attachment, Resolved, Resolver

DtypeNumber = Callable[[str], "int | None"]
"""TensorFlow's number of a dtype, by name; None for one it does not have."""


class Tables:
    """Finds or makes the table of a prefix.

    The kernel keeps a table for as long as some tensor made from it lives, so nothing is kept here
    but one lock per model: threads that restore the same one attach it once.
    """

    def __init__(self, resolve: Resolver, dtype_number: DtypeNumber) -> None:
        self._resolve = resolve
        self._dtype_number = dtype_number
        self.renew_locks()

    def renew_locks(self) -> None:
        """Forget who is attaching: for a child just forked."""
        self._attaching: dict[bytes, threading.Lock] = {}

    def of(self, prefix: str) -> Any:
        """The ``tetris_table *`` of the model at ``prefix``, with one count for the caller.

        Raises:
            Exception: whatever the resolver raises, or why its attachment cannot be used.
        """
        resolved = self._resolve(prefix)
        table = lib.tetris_table_find(resolved.fingerprint)
        if table != ffi.NULL:
            return table
        with self._attaching.setdefault(resolved.fingerprint, threading.Lock()):
            table = lib.tetris_table_find(resolved.fingerprint)
            return table if table != ffi.NULL else self._attach(resolved)

    def _attach(self, resolved: Resolved) -> Any:
        with resolved.attach() as attachment:
            return self._table(resolved.fingerprint, attachment)

    def _table(self, fingerprint: bytes, attachment: Attachment) -> Any:
        out = ffi.new("tetris_table **")
        view = os.fsencode(attachment.view)
        check(lib.tetris_table_new(fingerprint, view, out), "make a table of", attachment.view)
        try:
            self._fill(out[0], attachment)
            lease = ffi.NULL if attachment.lease is None else os.fsencode(attachment.lease)
            lease_name = str(attachment.lease)
            check(lib.tetris_table_publish(out[0], lease), "take lease", lease_name)
        except BaseException:
            lib.tetris_table_unref(out[0])
            raise
        return out[0]

    def _fill(self, table: Any, attachment: Attachment) -> None:
        for tensor in attachment.tensors:
            number = self._dtype_number(tensor.dtype)
            if number is None:
                continue  # the kernel reads it from the checkpoint, or refuses it as ever
            name = tensor.name.encode()
            shape = list(tensor.shape)
            result = lib.tetris_table_add(
                table, name, len(name), number, shape, len(shape), tensor.digest.encode(),
                tensor.nbytes,
            )  # fmt: skip
            check(result, "take in", tensor.name)
