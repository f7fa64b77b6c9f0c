"""Errors to and from gRPC status, by code and never by message."""

from __future__ import annotations

import grpc

from tetris.errors import (
    ConflictError,
    CorruptDataError,
    InvalidModelError,
    NoSpaceError,
    NotAllowedError,
    NotFoundError,
    TetrisError,
    UnavailableError,
)

_CODES: dict[type[TetrisError], grpc.StatusCode] = {
    NotFoundError: grpc.StatusCode.NOT_FOUND,
    NotAllowedError: grpc.StatusCode.PERMISSION_DENIED,
    CorruptDataError: grpc.StatusCode.DATA_LOSS,
    InvalidModelError: grpc.StatusCode.INVALID_ARGUMENT,
    NoSpaceError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ConflictError: grpc.StatusCode.ABORTED,
    UnavailableError: grpc.StatusCode.UNAVAILABLE,
    TetrisError: grpc.StatusCode.INTERNAL,
}
# A message is sent as a header, with three bytes for each that is not printable ASCII, and a peer
# that gets more than 8 KiB of headers ends the call as RESOURCE_EXHAUSTED, whatever its status was.
_MAX_DETAILS = 2000

_ERRORS = {code: error for error, code in _CODES.items()}
_ERRORS[grpc.StatusCode.DEADLINE_EXCEEDED] = UnavailableError
_ERRORS[grpc.StatusCode.CANCELLED] = UnavailableError


def code_of(error: TetrisError) -> grpc.StatusCode:
    """The status of ``error``: that of its nearest class in the table."""
    return next(_CODES[kind] for kind in type(error).__mro__ if kind in _CODES)


def details_of(error: TetrisError) -> str:
    """The sentence of ``error`` as gRPC can carry it: of a long one its begin and its end."""
    # A name from the file system may hold bytes that are no UTF-8.
    text = str(error).encode(errors="backslashreplace")
    if len(text) > _MAX_DETAILS:
        text = text[: _MAX_DETAILS // 2] + b" ... " + text[-_MAX_DETAILS // 2 :]
    return text.decode(errors="ignore")


def error_of(code: grpc.StatusCode, message: str) -> TetrisError:
    """The error that status ``code`` stands for, with ``message`` as its sentence."""
    return _ERRORS.get(code, TetrisError)(message)
