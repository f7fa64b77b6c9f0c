"""The client's end of the wire: one channel per call.

A channel lives for one call only. So nothing of gRPC survives a ``fork``, no thread is left behind,
and a daemon that restarts is simply met anew. On a unix socket a channel costs about a millisecond.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import grpc

from tetris.errors import UnavailableError
from tetris.settings import socket_path
from tetris.status import error_of
from tetris.v1.tetris_pb2_grpc import TetrisStub

T = TypeVar("T")

# A manifest of 100,000 tensors is about 15 MB; only the daemon of our own socket sends to us.
_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
]


class Rpc:
    """Calls the daemon behind ``socket``; safe to use from any thread and after ``fork``."""

    def __init__(self, socket: str | os.PathLike[str] | None = None) -> None:
        self.socket: Path = socket_path(socket)

    @contextmanager
    def stub(self) -> Iterator[Any]:
        """A stub that raises :mod:`tetris.errors` for every failed call.

        Raises:
            UnavailableError: nobody answers on the socket.
        """
        if not self.socket.exists():
            raise UnavailableError(
                f"no daemon at {self.socket}: start tetrisd, or name its socket in TETRIS_SOCKET"
            )
        with grpc.insecure_channel(f"unix:{self.socket.absolute()}", _OPTIONS) as channel:
            try:
                yield TetrisStub(channel)  # type: ignore[no-untyped-call]
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
        # The daemon itself never answers UNAVAILABLE: that code is the transport's.
        if failed.code() is grpc.StatusCode.UNAVAILABLE:
            return f"the daemon at {self.socket} does not answer: {failed.details()}"
        return str(failed.details())
