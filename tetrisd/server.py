"""The gRPC server of one tenant's socket."""

from __future__ import annotations

import os
import socket
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from tetris.errors import ConflictError, InvalidModelError, NotAllowedError, NotFoundError
from tetris.v1 import tetris_pb2
from tetris.v1.tetris_pb2_grpc import TetrisServicer, add_TetrisServicer_to_server

# A publish keeps a thread for as long as it takes, waiting included; threads are made when needed.
_THREADS = 64
# A header that claims 100,000 tensors is about 15 MB.
_MAX_MESSAGE = 64 << 20
_SERVICE = tetris_pb2.DESCRIPTOR.services_by_name["Tetris"].full_name


def serve(servicer: TetrisServicer, path: Path, mode: int) -> grpc.Server:
    """Start to answer on ``path``.

    The socket's mode and directory are the authority: gRPC for Python tells nothing about a peer.

    Raises:
        ConflictError: somebody answers there already.
        NotFoundError: its directory does not exist.
    """
    _prepare(path)
    server = grpc.server(
        ThreadPoolExecutor(_THREADS, thread_name_prefix="rpc"),
        options=[
            ("grpc.max_receive_message_length", _MAX_MESSAGE),
            ("grpc.max_send_message_length", -1),
        ],
    )
    add_TetrisServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]
    checks = health.HealthServicer()
    for name in ("", _SERVICE):
        checks.set(name, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    reflection.enable_server_reflection(
        (_SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), server
    )
    # The socket is made with nobody's permission but ours, and opened up once it is bound.
    before = os.umask(0o177)
    try:
        server.add_insecure_port(f"unix:{path}")
    except RuntimeError as failed:
        raise NotAllowedError(f"socket {path} cannot be bound: {failed}") from None
    finally:
        os.umask(before)
    server.start()
    path.chmod(mode)
    return server


def _prepare(path: Path) -> None:
    """Make the directory if only that is missing, and clear a socket that nobody answers on."""
    if len(os.fsencode(path)) > 107:
        raise InvalidModelError(f"socket {path}: the kernel takes 107 bytes, name a shorter path")
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
    except OSError as failed:
        raise NotFoundError(f"socket {path}: {path.parent}: {failed.strerror}") from None
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ConflictError(f"{path} exists and is no socket: name another path")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink()
        else:
            raise ConflictError(f"socket {path} is in use by another process: stop it first")
