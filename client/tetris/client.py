"""Publish and attach: what a serving process asks of the daemon."""

from __future__ import annotations

import logging
import os
import socket as socket_module
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc

from tetris.attachment import Attachment
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
from tetris.formats.model import CheckpointFiles
from tetris.manifest import Manifest
from tetris.rpc import Rpc
from tetris.settings import view_path
from tetris.upload import upload
from tetris.v1 import tetris_pb2 as pb
from tetris.wire import manifest_from_wire

log = logging.getLogger("tetris")

# Seconds for which an attach goes on trying to publish, and between two tries.
_PATIENCE = 600.0
_PAUSE = 0.1
# Seconds that an attach waits for a daemon that is being restarted.
_RESTART = 3.0
# Seconds after which one that was waited for in vain is waited for again.
_AFRESH = 60.0
# Since when nobody answers, by socket: of all clients of this process, which may be one a call.
_away: dict[Path, float] = {}


_FALLBACKS = (
    (CorruptDataError, pb.ReportFallbackRequest.CORRUPT),
    ((InvalidModelError, NotFoundError), pb.ReportFallbackRequest.UNREADABLE),
    ((NoSpaceError, NotAllowedError), pb.ReportFallbackRequest.REFUSED),
)


class Client:
    """The daemon behind one socket. Holds no connection: safe from any thread and after a fork."""

    def __init__(self, socket: str | os.PathLike[str] | None = None) -> None:
        self.rpc = Rpc(socket)

    def publish(self, files: CheckpointFiles, *, ends_with_call: bool = False) -> Manifest:
        """Make a model resident; nothing happens when it is.

        The daemon reads the files itself where it may, and is sent the bytes where it may not.

        Args:
            files: the model's.
            ends_with_call: an interrupted call leaves nothing. Otherwise the daemon goes on with
                what it reads itself, and the next caller finds it resident.

        Raises:
            InvalidModelError: the files are not a model.
            NoSpaceError: the store cannot hold it.
            UnavailableError: no daemon answers.
        """
        try:
            request = pb.PublishPathRequest(
                path=_text(os.path.abspath(files.prefix)), ends_with_call=ends_with_call
            )
            answer = self.rpc.call("PublishPath", request, timeout=None)
            if answer.manifest.fingerprint == files.fingerprint:
                return manifest_from_wire(answer.manifest)
            # The daemon's file system shows another model under that path: send ours.
        except (NotAllowedError, NotFoundError) as refused:
            log.debug("sending %s: %s", files.name, refused)
        return self._send(files)

    def _send(self, files: CheckpointFiles) -> Manifest:
        failures: list[Exception] = []
        calls: list[grpc.Future[pb.PublishResponse]] = []

        def messages() -> Iterator[pb.PublishRequest]:
            try:
                yield from upload(files)
            except Exception as failed:
                # gRPC would swallow it: end the call, and let the caller have the real reason.
                failures.append(failed)
                calls[0].cancel()

        try:
            with self.rpc.stub() as stub:
                calls.append(stub.Publish.future(messages()))
                return manifest_from_wire(calls[0].result().manifest)
        except TetrisError:
            if failures:
                raise failures[0] from None
            raise

    def attach(self, fingerprint: bytes) -> Attachment:
        """Start using a published model: one call, whatever the number of tensors.

        Raises:
            NotFoundError: it is not published.
            NotAllowedError: the view is not what the daemon says, or not here.
        """
        request = pb.AttachRequest(
            fingerprint=fingerprint,
            holder=pb.Holder(
                pid=os.getpid(),
                command=_text(" ".join(sys.argv))[:200],
                host=socket_module.gethostname(),
            ),
        )
        try:
            return self._attachment(request)
        except NotAllowedError:
            # This process may have been stopped for longer than a lease waits for its holder.
            return self._attachment(request)

    def _attachment(self, request: pb.AttachRequest) -> Attachment:
        answer = self._through_a_restart(lambda: self.rpc.call("Attach", request))
        manifest = manifest_from_wire(answer.manifest)
        view = view_path(answer.view, self.rpc.socket, answer.lease)
        return Attachment(view, answer.lease, manifest)

    def _through_a_restart(self, call: Callable[[], Any]) -> Any:
        """Call again for a moment when nobody answers where somebody has a place to.

        A daemon is restarted within a second. One that stays away is waited for once, and not by
        each call anew.
        """
        while True:
            began = time.monotonic()
            try:
                answer = call()
            except UnavailableError:
                since = _away.setdefault(self.rpc.socket, began)
                if began > since + _AFRESH:
                    since = _away[self.rpc.socket] = began
                waited = time.monotonic() - since
                if waited > _RESTART or not self.rpc.socket.parent.is_dir():
                    raise
                time.sleep(_PAUSE)
            else:
                _away.pop(self.rpc.socket, None)
                return answer

    def attach_or_publish(self, files: CheckpointFiles) -> Attachment:
        """Attach, publishing first what is not resident.

        Raises:
            TetrisError: as :meth:`publish` and :meth:`attach`.
        """
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                return self.attach(files.fingerprint)
            except NotFoundError:
                pass
            try:
                self.publish(files)
            except ConflictError:
                # Too many publishers at once, or the one we waited for gave up.
                if time.monotonic() > deadline:
                    raise
                time.sleep(_PAUSE)

    def tell_of_fallback(self, prefix: str, why: Exception) -> None:
        """Tell the daemon that a model was loaded without sharing, and why: for its metrics."""
        if isinstance(why, UnavailableError):
            return  # there is nobody to be told
        kinds = (kind for error, kind in _FALLBACKS if isinstance(why, error))
        reason = next(kinds, pb.ReportFallbackRequest.FAILED)
        request = pb.ReportFallbackRequest(reason=reason, model=_text(prefix)[-200:])
        try:
            self.rpc.call("ReportFallback", request, timeout=1.0)
        except TetrisError as failed:
            log.debug("the fallback of %s is not reported: %s", prefix, failed)

    def release(self, lease: str) -> None:
        """Tell the daemon that a lease ended; it would find out by itself."""
        try:
            self.rpc.call("Release", pb.ReleaseRequest(lease=lease), timeout=5.0)
        except TetrisError as failed:
            log.debug("lease %s: %s", lease, failed)


def _text(name: str) -> str:
    """What protobuf takes: a name of the file system need not be Unicode."""
    return name.encode(errors="replace").decode()
