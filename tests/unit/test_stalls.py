"""A call whose client stands still ends; one that works for long does not."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from support import raw
from support.daemon import wait_until
from tetrisd.stalls import EndStalls, Stalls

SECONDS = 0.3


class Echo(grpc.GenericRpcHandler):
    """Methods on bytes, one of each kind; ``busy`` counts the threads that are in one."""

    def __init__(self):
        self.busy = 0

    def service(self, details):
        if details.method == "/one":
            return grpc.unary_unary_rpc_method_handler(lambda request, context: request)
        if details.method == "/long":
            return grpc.unary_unary_rpc_method_handler(self.long)
        if details.method == "/many":
            return grpc.unary_stream_rpc_method_handler(self.many)
        if details.method == "/talk":
            return grpc.stream_stream_rpc_method_handler(lambda requests, context: requests)
        return None

    def long(self, request, context):
        time.sleep(3 * SECONDS)
        return request

    def many(self, request, context):
        self.busy += 1
        try:
            for _ in range(8):
                yield request or bytes(1 << 20)
        finally:
            self.busy -= 1


@pytest.fixture
def echo():
    return Echo()


@pytest.fixture
def path(tmp_path, echo):
    """The socket of a server with two threads."""
    calls = EndStalls(Stalls(SECONDS))
    server = grpc.server(ThreadPoolExecutor(2), interceptors=[calls])
    server.add_generic_rpc_handlers([echo])
    server.add_insecure_port(f"unix:{tmp_path}/socket")
    server.start()
    yield tmp_path / "socket"
    server.stop(0).wait()


@pytest.fixture
def channel(path):
    with grpc.insecure_channel(f"unix:{path}") as opened:
        yield opened


@pytest.mark.parametrize("method", ["/one", "/long"])
def test_a_call_is_answered_however_long_it_works(channel, method):
    assert channel.unary_unary(method)(b"hello", timeout=30) == b"hello"


def test_a_stream_is_answered(channel):
    assert list(channel.unary_stream("/many")(b"x", timeout=30)) == [b"x"] * 8
    assert list(channel.stream_stream("/talk")(iter([b"a", b"b"]), timeout=30)) == [b"a", b"b"]


@pytest.mark.parametrize("method", ["/one", "/many", "/talk"])
def test_a_call_whose_request_never_comes_ends(channel, method):
    """More of them than there are threads; the next is served."""
    go = threading.Event()

    def silence():
        go.wait(60)
        yield from ()

    calls = [channel.stream_stream(method)(silence()) for _ in range(6)]
    try:
        assert channel.unary_unary("/one")(b"hello", timeout=30) == b"hello"
        for call in calls:
            with pytest.raises(grpc.RpcError):
                next(call)
    finally:
        go.set()


def test_a_call_that_ends_without_a_request_is_refused(channel):
    with pytest.raises(grpc.RpcError) as refused:
        channel.stream_unary("/one")(iter([]), timeout=30)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_stream_that_nobody_takes_ends(path, echo, channel):
    """Its client lets the server send nothing, and keeps the connection."""
    calls = b"".join(raw.whole_call(2 * i + 1, "/many") for i in range(2))
    with raw.connections(path, 1, raw.no_window() + calls):
        wait_until(lambda: echo.busy == 2, what="the calls")
        assert channel.unary_unary("/one")(b"hello", timeout=30) == b"hello"
        wait_until(lambda: echo.busy == 0, what="the end of the calls")
