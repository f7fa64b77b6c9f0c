"""Somebody who watches what a daemon does, in a thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from support.daemon import wait_until
from tetris.rpc import Rpc
from tetris.v1 import tetris_pb2 as pb


class Watching:
    """What has been seen so far, and the end of the stream.

    Attributes:
        call: the call, for who wants to cancel it.
        seen: every event.
        code: how it ended; None: it has not.
    """

    def __init__(self, call: grpc.Call) -> None:
        self.call = call
        self.seen: list[pb.Event] = []
        self.code: grpc.StatusCode | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def kinds(self) -> list[int]:
        """The kind of each event."""
        return [event.kind for event in self.seen]

    def wait_for(self, kind: int, number: int = 1) -> pb.Event:
        """The last event of that kind, once there are so many."""
        wait_until(
            lambda: self.kinds().count(kind) >= number, what=f"event {pb.Event.Kind.Name(kind)}"
        )
        return [event for event in self.seen if event.kind == kind][-1]

    def end(self) -> None:
        """Cancel it, and wait for the end."""
        self.call.cancel()
        self._thread.join(20)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        try:
            for event in self.call:
                self.seen.append(event)
        except grpc.RpcError:
            pass
        self.code = self.call.code()


@contextmanager
def watching(rpc: Rpc, method: str = "Watch") -> Iterator[Watching]:
    """Watch from here on: nothing that happens in the block is missed."""
    with rpc.stub() as stub:
        call = getattr(stub, method)(pb.WatchRequest())
        call.initial_metadata()
        made = Watching(call)
        try:
            yield made
        finally:
            made.end()
