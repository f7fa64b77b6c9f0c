"""gRPC by hand: connections and calls as no library would make them."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\0\0\0\4\0\0\0\0\0"
DATA, HEADERS = 0, 1
END_STREAM, END_HEADERS = 1, 4


def frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    """One HTTP/2 frame."""
    return (
        struct.pack(">I", len(body))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + body
    )


def headers(method: str) -> bytes:
    """The header block of a call: literals, without compression."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": method,
        ":authority": "localhost",
        "te": "trailers",
        "content-type": "application/grpc",
    }
    return b"".join(b"\0" + _text(name) + _text(value) for name, value in fields.items())


def _text(text: str) -> bytes:
    assert len(text) < 127
    return bytes([len(text)]) + text.encode()


def no_window() -> bytes:
    """A greeting that lets the other end send nothing that is subject to flow control."""
    return PREFACE + frame(4, 0, 0, struct.pack(">HI", 4, 0))


def whole_call(stream: int, method: str) -> bytes:
    """The frames of a call with an empty message."""
    return open_call(stream, method) + frame(DATA, END_STREAM, stream, bytes(5))


def open_call(stream: int, method: str) -> bytes:
    """The frame that starts a call, whose message is still to come."""
    return frame(HEADERS, END_HEADERS, stream, headers(method))


@contextmanager
def connections(path: Path, number: int, *first: bytes) -> Iterator[list[socket.socket]]:
    """So many connections, each of which sends ``first`` and then nothing."""
    made: list[socket.socket] = []
    try:
        for _ in range(number):
            client = socket.socket(socket.AF_UNIX)
            made.append(client)
            client.settimeout(5)
            client.connect(str(path))
            client.sendall(b"".join(first))
        yield made
    finally:
        for client in made:
            client.close()
