"""Where Prometheus scrapes: HTTP on the loopback or a unix socket, small and bounded."""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

from tetris.errors import NotAllowedError
from tetrisd.server import prepare
from tetrisd.stalls import Stalls

# Scrapes at once, and seconds that each may take in all: whoever wants more is sent away.
_AT_ONCE = 4
_SECONDS = 10.0
# After a client that could not be accepted, for want of descriptors.
_PAUSE = 0.1


class Scrapes:
    """A server that answers scrapes; ends with :meth:`stop`."""

    def __init__(self, server: _Server, path: Path | None) -> None:
        self._server = server
        self._path = path
        self._thread = threading.Thread(target=self._run, name="metrics")
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Answer nobody any more; a look at the store has ``seconds`` to end."""
        self._server.stopping = True
        self._server.socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for a client
        self._thread.join()
        self._server.end(seconds)
        self._server.server_close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _run(self) -> None:
        # Not serve_forever, which looks twice a second whether it should end.
        while not self._server.stopping:
            self._server.handle_request()


def serve(registry: CollectorRegistry, where: str) -> Scrapes:
    """Answer scrapes of ``registry``.

    Args:
        registry: what is scraped.
        where: ``HOST:PORT`` on the loopback, or the absolute path of a unix socket.

    Raises:
        ConflictError, NotAllowedError: it cannot be had.
    """
    path = Path(where) if where.startswith("/") else None
    if path is not None:
        prepare(path)
    try:
        server = _Server(where) if path is None else _UnixServer(where)
    except OSError as failed:
        raise NotAllowedError(f"metrics on {where}: {failed.strerror}") from None
    server.set_app(make_wsgi_app(registry, disable_compression=True))
    return Scrapes(server, path)


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
        """Nothing: a scrape is no decision."""


class _Server(WSGIServer):
    """Answers each client in a thread of its own, a few at once, and none for long."""

    timeout = None
    request_queue_size = 64

    def __init__(self, where: str) -> None:
        host, _, port = where.rpartition(":")
        host = host.strip("[]")
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._begin((host, int(port)))

    def _begin(self, address: Any) -> None:
        self.stopping = False
        self._places = threading.BoundedSemaphore(_AT_ONCE)
        self._open: set[socket.socket] = set()
        self._stalls = Stalls(_SECONDS)
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Bind, and ask no name server who we are."""
        if self.address_family != socket.AF_UNIX:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = "localhost", 0
        self.setup_environ()

    def get_request(self) -> tuple[Any, Any]:
        """A client; a unix socket's has no address, and nobody needs one."""
        try:
            request, _ = self.socket.accept()
        except OSError:
            if not self.stopping:
                time.sleep(_PAUSE)
            raise
        return request, ("local", 0)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread of its own, if there is a place."""
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        self._open.add(request)
        threading.Thread(target=self._answer, args=(request, client_address), daemon=True).start()

    def end(self, seconds: float) -> None:
        """Send everybody away, and wait until nobody looks at the store any more, or so long."""
        for request in list(self._open):
            _cut(request)
        deadline = time.monotonic() + seconds
        for _ in range(_AT_ONCE):
            self._places.acquire(timeout=max(0.0, deadline - time.monotonic()))

    def _answer(self, request: Any, client_address: Any) -> None:
        try:
            with self._stalls.over(lambda: _cut(request)):
                self.finish_request(request, client_address)
        except OSError:
            pass  # the client went away, or took too long
        finally:
            self._open.discard(request)
            self.shutdown_request(request)
            self._places.release()


class _UnixServer(_Server):
    address_family = socket.AF_UNIX

    def __init__(self, where: str) -> None:
        before = os.umask(0o117)  # its group may scrape too
        try:
            self._begin(where)
        finally:
            os.umask(before)


def _cut(request: socket.socket) -> None:
    """End a client's connection under the thread that waits for it."""
    with suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)
