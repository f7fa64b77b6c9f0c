"""A daemon in this process, without sockets: its real store and servicers on a real root."""

from __future__ import annotations

import atexit
import contextlib
import itertools
import logging
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from support.tmpfs import tmpfs
from tetris import shm
from tetris.v1 import admin_pb2, tetris_pb2
from tetris.v1.admin_pb2_grpc import add_AdminServicer_to_server
from tetris.v1.tetris_pb2_grpc import add_TetrisServicer_to_server
from tetrisd import service
from tetrisd.admin import Admin
from tetrisd.clock import Clock
from tetrisd.library import Library
from tetrisd.root import Root
from tetrisd.service import Servicer
from tetrisd.settings import Settings, TenantSettings
from tetrisd.store import Store

METHODS = {
    base + number: f"/{described.full_name}/{method.name}"
    for base, described in (
        (0, tetris_pb2.DESCRIPTOR.services_by_name["Tetris"]),
        (64, admin_pb2.DESCRIPTOR.services_by_name["Admin"]),
    )
    for number, method in enumerate(described.methods)
}
"""Every method of every service, by a number that stays when others are added."""

# A longer message does not pass: gRPC sends it as a header, percent-encoded, and a client refuses
# headers beyond 8 KiB in all.
_MAX_DETAILS = 6000

logging.getLogger("tetrisd").addHandler(logging.NullHandler())
service._MOMENT = 0.0  # no client dies here


@contextlib.contextmanager
def wired(root: Path, models: Path) -> Iterator[list[Any]]:
    """A store on ``root`` and its servicers: the one place that knows how they are made.

    Args:
        root: the daemon's root.
        models: where it may read models itself.

    Yields:
        ``(add_..._to_server, servicer)`` of each service.
    """
    tenant = TenantSettings(socket=root / "socket", model_root=(models,), max_leases=6)
    settings = Settings(tenants=(tenant,), headroom=0, capacity=24 << 20)
    times = itertools.count(1_700_000_000 * 10**9, 10**6)
    log = logging.getLogger("tetrisd")
    said, log.propagate = log.propagate, False  # nobody reads millions of refusals
    opened = Root(root)
    try:
        store = Store(opened, settings, Clock(lambda: next(times), lambda: next(times)))
        store.recover()
        servicer = Servicer(store.tenant(tenant.name), store.events)
        servicer.configure(Library(tenant.model_root), 60)
        yield [
            (add_TetrisServicer_to_server, servicer),
            (add_AdminServicer_to_server, Admin(store, store.events, lambda: ([], []))),
        ]
    finally:
        opened.close()
        log.propagate = said


class Refused(Exception):
    """The call ended with a status."""


class _Context:
    """What a servicer may ask of a call. A status of INTERNAL is a fault of ours."""

    def abort(self, code: grpc.StatusCode, details: str) -> None:
        cause = sys.exc_info()[1]
        if code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN):
            raise AssertionError(f"{code.name}: {details}") from cause
        sent = sum(1 if 32 <= byte < 127 else 3 for byte in details.encode())
        assert sent <= _MAX_DETAILS, f"{code.name} with {sent} bytes of details"
        raise Refused(code, details)

    def is_active(self) -> bool:
        return True

    def cancel(self) -> None:
        raise AssertionError("cut off")

    def add_callback(self, callback: Callable[[], None]) -> bool:
        return False  # it has ended: who watches events stops at once


class Handlers:
    """What gRPC would call for each method: bytes in, bytes out."""

    def __init__(self, servicers: list[Any]) -> None:
        self._services: list[Any] = []
        for add, servicer in servicers:
            add(servicer, self)

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """Called by the generated code."""
        self._services += handlers

    def add_registered_method_handlers(self, service: str, handlers: Any) -> None:
        """Called by newer generated code, besides the other."""

    def call(self, method: str, messages: list[bytes]) -> list[bytes]:
        """The answers, as they go over the wire.

        Raises:
            Refused: the call ended with a status that is none of INTERNAL and UNKNOWN.
        """
        details = type("Details", (), {"method": method, "invocation_metadata": ()})
        found = [s.service(details) for s in self._services]
        handler = next((h for h in found if h is not None), None)
        if handler is None:
            raise Refused("no such method")
        if handler.request_streaming:
            request: Any = map(_decoded(handler), messages)
        else:
            request = _decoded(handler)(messages[0])
        behaviour = next(
            b for b in (handler.unary_unary, handler.unary_stream, handler.stream_unary) if b
        )
        answer = behaviour(request, _Context())
        answers = answer if handler.response_streaming else [answer]
        return [handler.response_serializer(a) for a in answers]


def _decoded(handler: Any) -> Callable[[bytes], Any]:
    def decode(message: bytes) -> Any:
        try:
            return handler.request_deserializer(message)
        except DecodeError:
            # gRPC answers this one by itself; in a stream it is the end, as when a client goes.
            raise _Gone if handler.request_streaming else Refused from None

    return decode


class _Gone(grpc.RpcError):
    """What reading a stream raises whose other end is gone."""


def check_files(root: Path) -> None:
    """No draft; each segment has the bytes of its name; each manifest has its segments."""
    found = [p for p in root.rglob("*") if p.is_file()]
    assert not [p for p in found if p.name.startswith(".")], "a draft is left"
    segments = {p.name: p for p in (root / "objects").rglob("*") if p.is_file()}
    for name, path in segments.items():
        assert shm.digest(path.read_bytes()).hex() == name, f"segment {name} has other bytes"
        assert path.stat().st_mode & 0o7777 == 0o444
    named = set()
    for path in (root / "models").rglob("*"):
        if path.is_file():
            named |= _check_manifest(path, segments)
    assert set(segments) == named, "a segment that no model names"


def _check_manifest(path: Path, segments: dict[str, Path]) -> set[str]:
    stored = path.read_bytes()
    assert shm.digest(stored[32:]) == stored[:32]
    manifest = tetris_pb2.Manifest.FromString(stored[32:])
    assert manifest.fingerprint.hex() == path.name
    named = {t.digest.hex(): t.nbytes for t in manifest.tensors if t.nbytes}
    for name, nbytes in named.items():
        assert segments[name].stat().st_size == nbytes, f"tensor {name} is not {nbytes} bytes"
    return set(named)


def kept_tmpfs() -> Path:
    """A tmpfs for as long as the process lives; small, since an input reserves what it likes."""
    made = contextlib.ExitStack()
    atexit.register(made.close)
    return made.enter_context(tmpfs("size=32m"))


def clear(directory: Path) -> Path:
    """An empty ``directory``."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    return directory
