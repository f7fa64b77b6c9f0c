"""The restore kernel's life: bound to TensorFlow, registered once, switched on and off."""

from __future__ import annotations

import _thread
import atexit
import os
import threading
from functools import cache
from pathlib import Path
from typing import Any

from tetris import supported
from tetris.shm import ffi, lib
from tetris.tensorflow._ledger import Ledger, Report, log
from tetris.tensorflow._resolve import Resolver, through_daemon
from tetris.tensorflow._stored import read_stored
from tetris.tensorflow._tables import Tables

# By number: why a tensor of an attached model was read, and whether that is as it should be.
_REASONS = {
    lib.TETRIS_STRING: ("strings are read from the checkpoint", True),
    lib.TETRIS_SLICE: ("slices that TensorFlow has to judge are read from the checkpoint", True),
    lib.TETRIS_UNKNOWN: ("the published model has no tensor of that name", False),
    lib.TETRIS_MISMATCH: ("dtype or size is not that of the published tensor", False),
    lib.TETRIS_GONE: ("the segment is gone", False),
    lib.TETRIS_REFUSED: ("the kernel refused the mapping: see vm.max_map_count", False),
}


class _State:
    """What the hooks work with; one per process."""

    def __init__(self) -> None:
        self.changing = threading.RLock()
        self.registered = False
        self.on = False
        self.tables: Tables | None = None
        self.ledger = Ledger()
        os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        """A lock that another thread held at the fork would never be free in the child."""
        self.changing = threading.RLock()
        self.ledger.renew_lock()
        if self.tables:
            self.tables.renew_locks()


_state = _State()


def enable(
    socket: str | None = None, *, publish: bool = True, resolver: Resolver | None = None
) -> bool:
    """Share the weights that TensorFlow restores from now on. Imports TensorFlow.

    May be called again, to change the arguments or after ``disable``. A session keeps the kernels
    that it has run, so call this before one restores.

    Args:
        socket: the daemon's; None for ``TETRIS_SOCKET`` or the default.
        publish: have the daemon publish models that it does not know.
        resolver: asked instead of the daemon.

    Returns:
        Whether sharing is on. It is not, with a warning, in a TensorFlow other than 2.16 to 2.21;
        all loading then works as without us.
    """
    with _state.changing:
        if not _state.registered:
            problem = _register()
            if problem:
                log.warning("weights are not shared: %s", problem)
                return False
            _state.registered = True
        resolve = resolver or through_daemon(socket, publish=publish)
        _state.tables = Tables(resolve, _dtype_number)
        lib.tetris_restore_switch(1)
        _state.on = True
    return True


def disable() -> None:
    """Restore as stock TensorFlow does. What is mapped stays so, and stays valid."""
    with _state.changing:
        lib.tetris_restore_switch(0)
        _state.on = False


def enabled() -> bool:
    """Whether sharing is on."""
    return _state.on


def report() -> Report:
    """What was shared, what fell back, and why, since the process began."""
    return _state.ledger.report()


def _register() -> str | None:
    """Bind and register; returns what is in the way, if anything is."""
    import tensorflow as tf

    if not supported.serves(tf.__version__):
        return f"TensorFlow {tf.__version__} is not one of {supported.RANGE}"
    library = _loaded_library()
    if library is None:
        return "this TensorFlow has no libtensorflow_cc.so.2"
    missing = ffi.new("char **")
    if lib.tetris_tf_bind(os.fsencode(library), ffi.cast("const char **", missing)) < 0:
        name = ffi.string(missing[0]).decode() if missing[0] != ffi.NULL else "functions"
        return f"TensorFlow {tf.__version__} has no {name}"
    hooks = ffi.new("struct tetris_restore_hooks *")
    hooks.resolve = lib.tetris_py_resolve
    hooks.restored = lib.tetris_py_restored
    hooks.read_stored = lib.tetris_py_read_stored
    why = ffi.new("char[]", 256)
    if lib.tetris_restore_register(hooks, why, len(why)) < 0:
        return f"TensorFlow refused the kernel: {ffi.string(why).decode()}"
    _drop_cached_kernels()
    # A thread of TensorFlow's that called into an interpreter on its way out would never return.
    atexit.register(lib.tetris_restore_switch, 0)
    return None


def _drop_cached_kernels() -> None:
    """A restore that ran eagerly before would be served by the stock kernel it ran with, for good.

    Only what has run before pays: stateful kernels start anew, as after ``tf.random.set_seed``.
    """
    from tensorflow.python.eager import context

    current = context.context_safe()
    if current is not None:
        current.clear_kernel_cache()


def _loaded_library() -> str | None:
    for line in Path("/proc/self/maps").read_text(errors="surrogateescape").splitlines():
        path = line.partition("/")[2]
        if path.rpartition("/")[2].startswith("libtensorflow_cc.so"):
            return f"/{path}"
    return None


@cache
def _dtype_number(name: str) -> int | None:
    import tensorflow as tf

    try:
        return int(tf.as_dtype(name).as_datatype_enum)
    except TypeError:
        return None


@ffi.def_extern(error=ffi.NULL)  # type: ignore[untyped-decorator]
def tetris_py_resolve(prefix: Any, size: int) -> Any:
    """Find or attach the model at ``prefix``; NULL, with the reason counted, when it cannot be."""
    path = os.fsdecode(ffi.unpack(prefix, size))
    tables = _state.tables
    if tables is None:
        return ffi.NULL
    try:
        return tables.of(path)
    except Exception as error:  # whatever it is, the load must go on
        _state.ledger.fell_back(path, str(error) or type(error).__name__)
    except KeyboardInterrupt:
        _thread.interrupt_main()  # again, when the program is back in Python
    return ffi.NULL


@ffi.def_extern()  # type: ignore[untyped-decorator]
def tetris_py_restored(prefix: Any, size: int, fingerprint: Any, what: Any) -> None:
    """Count what the kernel has done."""
    path = os.fsdecode(ffi.unpack(prefix, size))
    ledger = _state.ledger
    digest = bytes(ffi.buffer(fingerprint, 32))
    counted = ("tensors", "nbytes", "read_only", "copied")
    ledger.shared(path, digest, {name: int(getattr(what, name)) for name in counted})
    for number, (reason, expected) in _REASONS.items():
        if what.read[number]:
            ledger.read(path, reason, what.read[number], expected=expected)


@ffi.def_extern()  # type: ignore[untyped-decorator]
def tetris_py_read_stored(prefix: Any, size: int, slices: Any, count: int) -> None:
    """Read slices that are stored as they are wanted."""
    try:
        read_stored(ffi.unpack(prefix, size), slices, count)
    except Exception as error:  # the kernel reads what is left
        log.debug("stored slices of %s: %s", os.fsdecode(ffi.unpack(prefix, size)), error)
