"""The servicer: convert, call the store, convert."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import grpc

from tetris.errors import ConflictError, InvalidModelError, TetrisError
from tetris.status import code_of
from tetris.v1 import tetris_pb2 as pb
from tetris.v1.tetris_pb2_grpc import TetrisServicer
from tetris.wire import claim_from_wire
from tetrisd.claims import MAX_TENSORS
from tetrisd.leases import Lease
from tetrisd.library import Library
from tetrisd.patience import patience
from tetrisd.sources import Source, StreamSource
from tetrisd.store import Store

log = logging.getLogger("tetrisd")

# Of the server's threads, how many may publish or wait for a publisher at once.
MAX_PUBLISHES = 48

_Method = TypeVar("_Method", bound=Callable[..., Any])


def _answers(method: _Method) -> _Method:
    """Turn what a unary method raises into a status; an unforeseen error stays in the log."""

    @functools.wraps(method)
    def call(self: Servicer, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return method(self, request, context)
        except TetrisError as refused:
            context.abort(code_of(refused), str(refused))
        except grpc.RpcError:
            # Raised by the stream of requests when its other end is gone.
            log.info("%s: the client went away", method.__name__)
            context.abort(grpc.StatusCode.CANCELLED, "the client went away")
        except Exception:
            log.exception("%s failed", method.__name__)
            context.abort(
                grpc.StatusCode.INTERNAL, f"{method.__name__} failed: see the daemon's log"
            )

    return call  # type: ignore[return-value]


class Servicer(TetrisServicer):
    """One tenant's view of the store.

    Args:
        store: what does the work.
        library: the models that the daemon may read itself.
        idle_seconds: a client that sends nothing for this long in mid-publish is cut off.
        stopping: set when no work should go on.
    """

    def __init__(
        self, store: Store, library: Library, idle_seconds: float, stopping: threading.Event
    ) -> None:
        self._store = store
        self._library = library
        self._idle_seconds = idle_seconds
        self._stopping = stopping
        self._publishes = threading.BoundedSemaphore(MAX_PUBLISHES)

    @_answers
    def Publish(  # noqa: N802
        self, requests: Iterator[pb.PublishRequest], context: grpc.ServicerContext
    ) -> pb.PublishResponse:
        """A model from the client's bytes."""
        with self._place(), patience(self._idle_seconds, context.cancel) as sign:
            header = _header(next(requests, None))
            source = StreamSource(
                header.fingerprint,
                header.name,
                [claim_from_wire(t) for t in header.tensors],
                _signed(requests, sign),
            )

            def wanted() -> bool:
                sign()  # asked while it waits for another publisher: that is no idleness
                return context.is_active() and not self._stopping.is_set()

            return self._publish(source, wanted)

    @_answers
    def PublishPath(  # noqa: N802
        self, request: pb.PublishPathRequest, context: grpc.ServicerContext
    ) -> pb.PublishResponse:
        """A model from files that the daemon reads."""
        with self._place(), self._library.open(request.path) as source:
            return self._publish(source, lambda: not self._stopping.is_set())

    @_answers
    def Attach(  # noqa: N802
        self, request: pb.AttachRequest, context: grpc.ServicerContext
    ) -> pb.AttachResponse:
        """A lease, and the manifest."""
        who = request.holder
        lease, manifest = self._store.attach(
            request.fingerprint, who.pid, who.command[:200], who.host[:200]
        )
        return pb.AttachResponse(
            lease=lease.id, view=self._store.view(), manifest=self._store.wire(manifest)
        )

    @_answers
    def Release(  # noqa: N802
        self, request: pb.ReleaseRequest, context: grpc.ServicerContext
    ) -> pb.ReleaseResponse:
        """The end of a lease."""
        return pb.ReleaseResponse(removed=self._store.release(request.lease))

    @_answers
    def ListModels(  # noqa: N802
        self, request: pb.ListModelsRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.ModelSummary]:
        """Every model."""
        return iter(
            [
                pb.ModelSummary(
                    fingerprint=m.fingerprint,
                    name=m.name,
                    published_unix_ns=m.published_unix_ns,
                    tensors=len(m.tensors),
                    nbytes=m.nbytes,
                    leases=leases,
                )
                for m, leases in self._store.models()
            ]
        )

    @_answers
    def ListSegments(  # noqa: N802
        self, request: pb.ListSegmentsRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.Segment]:
        """Every segment."""
        return iter(
            [
                pb.Segment(
                    digest=s.digest, nbytes=s.nbytes, referenced=s.referenced, models=s.models
                )
                for s in self._store.segments()
            ]
        )

    @_answers
    def ListLeases(  # noqa: N802
        self, request: pb.ListLeasesRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.Lease]:
        """Every lease."""
        return iter([_lease(lease) for lease in self._store.leases()])

    @_answers
    def GetModel(  # noqa: N802
        self, request: pb.GetModelRequest, context: grpc.ServicerContext
    ) -> pb.GetModelResponse:
        """One manifest."""
        return pb.GetModelResponse(manifest=self._store.wire(self._store.model(request.model)))

    @_answers
    def GetStats(  # noqa: N802
        self, request: pb.GetStatsRequest, context: grpc.ServicerContext
    ) -> pb.GetStatsResponse:
        """The numbers."""
        s = self._store.stats()
        return pb.GetStatsResponse(
            models=s.models,
            segments=s.segments,
            leases=s.leases,
            references=s.references,
            bytes_resident=s.resident,
            bytes_asked=s.asked,
            bytes_saved=s.saved,
            huge_pages=s.huge_pages,
            bytes_limit=s.limit,
        )

    @contextmanager
    def _place(self) -> Iterator[None]:
        """One of the places for publishers: each keeps a thread, and others need some too."""
        if not self._publishes.acquire(blocking=False):
            raise ConflictError(f"{MAX_PUBLISHES} publishes are under way: try again in a moment")
        try:
            yield
        finally:
            self._publishes.release()

    def _publish(self, source: Source, wanted: Callable[[], bool]) -> pb.PublishResponse:
        manifest, published = self._store.publish(source, wanted=wanted)
        return pb.PublishResponse(manifest=self._store.wire(manifest), published=published)


def _header(first: pb.PublishRequest | None) -> pb.PublishHeader:
    if first is None or first.WhichOneof("part") != "header":
        raise InvalidModelError("a publish starts with a header")
    # Counted before any is converted: each costs far more here than on the wire.
    if len(first.header.tensors) > MAX_TENSORS:
        raise InvalidModelError(
            f"model {first.header.name[:80]}: {len(first.header.tensors)} tensors, "
            f"at most {MAX_TENSORS} go"
        )
    return first.header


def _signed(requests: Iterator[pb.PublishRequest], sign: Callable[[], None]) -> Iterator[bytes]:
    """The data that follows a header; each message that brings any is a sign of life."""
    for message in requests:
        if message.WhichOneof("part") != "data":
            raise InvalidModelError("after the header of a publish only data follows")
        if message.data:
            sign()
            yield message.data


def _lease(lease: Lease) -> pb.Lease:
    return pb.Lease(
        id=lease.id,
        fingerprint=lease.fingerprint,
        model=lease.model,
        holder=pb.Holder(pid=lease.pid, command=lease.command, host=lease.host),
        since_unix_ns=lease.since_unix_ns,
        pending=lease.pending,
    )
