"""The gRPC servers: one for each tenant's socket, and one for the administrators'."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from tetris.errors import ConflictError, InvalidModelError, NotAllowedError, NotFoundError
from tetris.v1 import admin_pb2, tetris_pb2
from tetris.v1.admin_pb2_grpc import AdminServicer, add_AdminServicer_to_server
from tetris.v1.tetris_pb2_grpc import TetrisServicer, add_TetrisServicer_to_server
from tetrisd import files, steps
from tetrisd.root import give_to_group, readable
from tetrisd.service import MAX_PUBLISHES
from tetrisd.stalls import EndStalls, Stalls

# gRPC takes a thread for a call before its request is there, and a publish keeps one for as long as
# it takes: every call that connections can have in flight must find one. They are made when needed.
_CONNECTIONS = 512
_STREAMS = 4
_THREADS = MAX_PUBLISHES + _CONNECTIONS
# A table of 50,000 tensors with long names, and 16 MiB of strings in it; see tetrisd.claims.
_MAX_MESSAGE = 32 << 20
_OPTIONS = [
    ("grpc.max_receive_message_length", _MAX_MESSAGE),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_concurrent_streams", _STREAMS),
    ("grpc.max_allowed_incoming_connections", _CONNECTIONS),
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.max_connection_idle_ms", 60_000),
    # Clients ping a daemon that takes long, to tell busy from hung.
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
]
_PROBE_SECONDS = 5
_CALL_SECONDS = 10.0
_TETRIS = tetris_pb2.DESCRIPTOR.services_by_name["Tetris"]
_ADMIN = admin_pb2.DESCRIPTOR.services_by_name["Admin"]


class Server:
    """A server that answers; ends with :meth:`stop`."""

    def __init__(
        self, server: grpc.Server, threads: ThreadPoolExecutor, paths: Sequence[Path]
    ) -> None:
        self._server = server
        self._threads = threads
        self._paths = paths

    def stop(self, seconds: float) -> None:
        """Take no new calls, give the old ones ``seconds``, and wait for their last thread."""
        self._server.stop(seconds).wait()
        steps.reached("stop: idle")
        # The calls are over, but what served them may still be undoing its work.
        self._threads.shutdown(wait=True)
        for path in self._paths:
            path.unlink(missing_ok=True)
        steps.reached("stop: socket removed")


def serve_tenant(
    servicer: TetrisServicer, path: Path, mode: int, group: str = "", view: int | None = None
) -> Server:
    """Start to answer a tenant's clients on ``path``, and in the directory ``view`` as well.

    The socket's mode and directory are the authority: gRPC for Python tells nothing about a peer.

    Raises:
        ConflictError: somebody answers there already.
        NotFoundError: its directory does not exist.
    """

    def add(server: grpc.Server) -> None:
        add_TetrisServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]

    return _serve(add, _TETRIS, path, mode, group, view)


def serve_admin(servicer: AdminServicer, path: Path) -> Server:
    """Start to answer administrators on ``path``, which only the daemon's user and root may open.

    Raises:
        ConflictError, NotFoundError: as :func:`serve_tenant`.
    """

    def add(server: grpc.Server) -> None:
        add_AdminServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]

    return _serve(add, _ADMIN, path, 0o600, "")


def _serve(
    add: Callable[[grpc.Server], None],
    service: ServiceDescriptor,
    path: Path,
    mode: int,
    group: str,
    view: int | None = None,
) -> Server:
    made = prepare(path)
    paths = [path, *_in_view(view, path)]
    steps.reached("start: socket's place clear")
    threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="rpc")
    server = grpc.server(threads, options=_OPTIONS, interceptors=[EndStalls(Stalls(_CALL_SECONDS))])
    add(server)
    checks = health.HealthServicer(
        experimental_thread_pool=ThreadPoolExecutor(2, thread_name_prefix="health")
    )
    for name in ("", service.full_name):
        checks.set(name, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    reflection.enable_server_reflection(
        (service.full_name, health.SERVICE_NAME, reflection.SERVICE_NAME), server
    )
    # The socket is made with nobody's permission but ours, and opened up once it is bound.
    before = os.umask(0o177)
    try:
        for place in paths:
            server.add_insecure_port(f"unix:{quote(str(place))}")
    except RuntimeError as failed:
        raise NotAllowedError(f"socket {path} cannot be bound: {failed}") from None
    finally:
        os.umask(before)
    steps.reached("start: bound")
    server.start()
    for file in paths:
        _open_up(file, mode, group)
    if made:
        _open_up(path.parent, readable(mode), group)
    steps.reached("start: answering")
    return Server(server, threads, paths)


def _in_view(view: int | None, path: Path) -> list[Path]:
    """The socket in a view, cleared: only one daemon owns a root. None where ``path`` is that one.

    By the view's descriptor, whose path is short: a root may have a longer one than a socket may.
    """
    if view is None or os.path.samestat(path.parent.stat(), os.fstat(view)):
        return []
    place = Path(f"/proc/self/fd/{view}/{files.VIEW_SOCKET}")
    try:
        place.unlink(missing_ok=True)
    except IsADirectoryError:
        with suppress(OSError):  # Docker's, which was to mount the socket alone while it was away
            place.rmdir()
    return [place]


def _open_up(file: Path, mode: int, group: str) -> None:
    if group:
        give_to_group(file, group)
    file.chmod(mode)


def _check_owner(directory: Path) -> None:
    """Refuse a directory in which somebody else could put another socket in the place of ours."""
    found = directory.stat()
    if found.st_uid not in (0, os.geteuid()) or found.st_mode & 0o1022 in (0o2, 0o20, 0o22):
        raise NotAllowedError(
            f"the socket's directory {directory} belongs to user {found.st_uid} with mode "
            f"{found.st_mode & 0o7777:o}: name one that others may not write to"
        )


def prepare(path: Path) -> bool:
    """Clear a socket that nobody answers on; make the directory, and say so, if that is missing."""
    if len(os.fsencode(path)) > 107:
        raise InvalidModelError(f"socket {path}: the kernel takes 107 bytes, name a shorter path")
    try:
        path.parent.mkdir(mode=0o700)
        return True
    except FileExistsError:
        _check_owner(path.parent)
    except OSError as failed:
        raise NotFoundError(f"socket {path}: {path.parent}: {failed.strerror}") from None
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ConflictError(f"{path} exists and is no socket: name another path")
    except FileNotFoundError:
        return False
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_PROBE_SECONDS)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()  # only this answer means that nobody listens
            return False
        except OSError as failed:
            raise ConflictError(f"socket {path} cannot be taken over: {failed.strerror}") from None
    raise ConflictError(f"socket {path} is in use by another process: stop it first")
