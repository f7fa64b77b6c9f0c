"""Ending calls whose client stands still: each keeps a thread, from before its request is there.

gRPC for Python takes a thread for a call as soon as its headers have come, and lets it wait for the
request, and for the client to take what is streamed back. A client that sends nothing more, or
takes nothing, would keep the thread for ever.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc


class Stalls:
    """Gives up on whatever lasts longer than ``seconds``; one thread watches all of it."""

    def __init__(self, seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._now = now
        self._changed = threading.Condition()
        self._open: dict[object, tuple[float, Callable[[], object]]] = {}
        threading.Thread(target=self._run, name="stalls", daemon=True).start()

    @contextmanager
    def over(self, give_up: Callable[[], object]) -> Iterator[None]:
        """Call ``give_up`` from another thread when the block is not left in time."""
        key = object()
        with self._changed:
            self._open[key] = self._now() + self._seconds, give_up
            if len(self._open) == 1:
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._open.pop(key, None)

    def _run(self) -> None:
        while True:
            for give_up in self._expired():
                give_up()

    def _expired(self) -> list[Callable[[], object]]:
        with self._changed:
            # In order of arrival, so the first is the next to expire.
            first = next(iter(self._open.values()), None)
            self._changed.wait(None if first is None else max(0.0, first[0] - self._now()))
            late = [key for key, (end, _) in self._open.items() if end <= self._now()]
            return [self._open.pop(key)[1] for key in late]


class EndStalls(grpc.ServerInterceptor):
    """Watches every wait for a client, but not the work of a call, which may take long.

    A call with one request is served as a stream of one: so its thread is watched while it waits.
    A stream of requests with one response, a publish, has a patience of its own.
    """

    def __init__(self, stalls: Stalls) -> None:
        self._stalls = stalls

    def intercept_service(self, continuation: Callable[..., Any], details: Any) -> Any:
        """The handler of a call, watched."""
        handler = continuation(details)
        if handler is None or handler.stream_unary:
            return handler
        behaviour = handler.unary_unary or handler.unary_stream or handler.stream_stream
        if getattr(behaviour, "experimental_non_blocking", False):
            return handler  # it keeps no thread once its request is there
        if handler.unary_unary:
            make, call = grpc.stream_unary_rpc_method_handler, self._unary(behaviour)
        elif handler.unary_stream:
            make, call = grpc.stream_stream_rpc_method_handler, self._stream(behaviour)
        else:
            make, call = grpc.stream_stream_rpc_method_handler, self._dialogue(behaviour)
        return make(call, handler.request_deserializer, handler.response_serializer)

    def _unary(self, behaviour: Callable[..., Any]) -> Callable[..., Any]:
        def call(requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
            return behaviour(self._only(requests, context), context)

        return call

    def _stream(self, behaviour: Callable[..., Any]) -> Callable[..., Any]:
        def call(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            for response in behaviour(self._only(requests, context), context):
                with self._stalls.over(context.cancel):
                    yield response  # gRPC asks for the next when the client has taken this one

        return call

    def _dialogue(self, behaviour: Callable[..., Any]) -> Callable[..., Any]:
        def call(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            with self._stalls.over(context.cancel):
                yield from behaviour(requests, context)

        return call

    def _only(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
        try:
            with self._stalls.over(context.cancel):
                request = next(requests, None)
        except grpc.RpcError:
            request = None  # its other end is gone, and nobody hears what we say
        if request is None:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the call has no request")
        return request
