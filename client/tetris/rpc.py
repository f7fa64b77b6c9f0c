"""The client's end of the wire: one channel per call.

A channel lives for one call only, and a fork waits for the calls of other threads to end. So a
forked child may call like any other process, and a daemon that restarts is simply met anew. On a
unix socket a channel costs about a millisecond.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISSOCK
from typing import Any, TypeVar
from urllib.parse import quote

import grpc

from tetris.errors import NotAllowedError, UnavailableError
from tetris.settings import admin_socket_path, socket_path
from tetris.status import error_of
from tetris.v1.admin_pb2_grpc import AdminStub
from tetris.v1.tetris_pb2_grpc import TetrisStub

T = TypeVar("T")

# A manifest of 50,000 tensors is about 8 MB; only the daemon of our own socket sends to us.
_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    # A daemon that stops just as we connect says so before the call is sent. gRPC would send it
    # again on that connection, in a circle without end: a whole processor, and ever more memory.
    ("grpc.enable_retries", 0),
    # A publish may take long: pings tell a daemon that works from one that hangs.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.max_pings_without_data", 0),
]


# gRPC ends its threads some time after a channel is closed, a millisecond as a rule, more than a
# second on a busy host; a fork in between can lose a lock.
_REST = 0.1
_LONGEST_REST = 5.0
_GRPC_THREADS = (
    "event_engine",
    "grpc_",
    "lifeguard",
    "timer_manager",
    "resolver-exec",
    "default-exec",
)
# Seconds that a fork waits for the calls of other threads.
_LONGEST = 60.0

_MOUNTED_ALONE = (
    "; the socket alone is mounted here, and a restarted daemon makes a new one: "
    "mount its directory"
)


class _InFlight:
    """Keeps forks and calls apart: gRPC's threads are alive during a call, and dead in a child."""

    def __init__(self) -> None:
        self.renew()
        os.register_at_fork(
            before=self._before_fork, after_in_parent=self._after_fork, after_in_child=self.renew
        )

    def renew(self) -> None:
        """Start anew: for a child just forked, whose parent had no call in flight."""
        self._changed = threading.Condition()
        self._calls = 0
        self._ended = -_LONGEST_REST
        self._others: set[str] = set()

    def __enter__(self) -> None:
        with self._changed:
            if not self._calls and time.monotonic() > self._ended + _LONGEST_REST:
                self._others = _grpc_threads()  # of a program that uses gRPC itself
            self._calls += 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._calls -= 1
            self._ended = time.monotonic()
            self._changed.notify_all()

    def _before_fork(self) -> None:
        self._changed.acquire()
        # Not for ever: the call may be one that this fork, from a signal handler, interrupts.
        self._changed.wait_for(lambda: not self._calls, _LONGEST)
        time.sleep(max(0.0, self._ended + _REST - time.monotonic()))
        while _grpc_threads() - self._others and time.monotonic() < self._ended + _LONGEST_REST:
            time.sleep(0.001)

    def _after_fork(self) -> None:
        self._changed.release()


def _grpc_threads() -> set[str]:
    """Threads of this process that gRPC started, by their number."""
    found = set()
    for task in os.listdir("/proc/self/task"):
        with suppress(OSError), open(f"/proc/self/task/{task}/comm") as name:
            if name.read().startswith(_GRPC_THREADS):
                found.add(task)
    return found


_in_flight = _InFlight()


class Rpc:
    """Calls the daemon behind ``socket``; safe to use from any thread and after ``fork``."""

    _stub: Callable[[grpc.Channel], Any] = TetrisStub
    _advice = "start tetrisd, or name its socket in TETRIS_SOCKET"

    def __init__(self, socket: str | os.PathLike[str] | None = None) -> None:
        self.socket: Path = socket_path(socket)

    @contextmanager
    def stub(self) -> Iterator[Any]:
        """A stub that raises :mod:`tetris.errors` for every failed call.

        Raises:
            UnavailableError: nobody answers on the socket.
        """
        self._look()
        with _in_flight, grpc.insecure_channel(self._target(), _OPTIONS) as channel:
            try:
                yield type(self)._stub(channel)
            except grpc.FutureCancelledError:
                raise UnavailableError(f"the call to {self.socket} was cancelled") from None
            except grpc.RpcError as failed:
                raise error_of(failed.code(), self._sentence(failed)) from None

    def call(self, method: str, request: Any, timeout: float | None = 60.0) -> Any:
        """One unary call."""
        with self.stub() as stub:
            return getattr(stub, method)(request, timeout=timeout)

    def collect(self, method: str, request: Any, convert: Callable[[Any], T]) -> list[T]:
        """One call that answers a stream, as a list."""
        with self.stub() as stub:
            return [convert(m) for m in getattr(stub, method)(request, timeout=60.0)]

    def _sentence(self, failed: grpc.RpcError) -> str:
        # Our daemon never answers with these: they are the transport's.
        if failed.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            advice = _MOUNTED_ALONE if self._mounted_alone() else ""
            return f"the daemon at {self.socket} does not answer: {failed.details()}{advice}"
        return str(failed.details())

    def _mounted_alone(self) -> bool:
        with suppress(OSError):
            return self.socket.lstat().st_dev != self.socket.absolute().parent.stat().st_dev
        return False

    def _target(self) -> str:
        return f"unix:{quote(str(self.socket.absolute()))}"

    def _look(self) -> None:
        try:
            mode = self.socket.stat().st_mode
        except PermissionError:
            raise NotAllowedError(
                f"the socket {self.socket} is in a directory that this user may not enter"
            ) from None
        except OSError:
            raise UnavailableError(f"no daemon at {self.socket}: {self._advice}") from None
        if not S_ISSOCK(mode):  # Docker makes a directory where the source of a mount is missing
            raise UnavailableError(
                f"{self.socket} is no socket: {self._advice}; into a container mount its directory"
            )


class AdminRpc(Rpc):
    """Calls the daemon as an administrator."""

    _stub = AdminStub
    _advice = "start tetrisd with --admin-socket, or name that in TETRIS_ADMIN_SOCKET"

    def __init__(self, socket: str | os.PathLike[str] | None = None) -> None:
        self.socket = admin_socket_path(socket)
