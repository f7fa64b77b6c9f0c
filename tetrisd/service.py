"""The servicer: convert, call the store, convert."""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import grpc

from tetris.errors import ConflictError, InvalidModelError, TetrisError
from tetris.formats.bundle import MAX_STRINGS
from tetris.status import code_of, details_of
from tetris.v1 import tetris_pb2 as pb
from tetris.v1.tetris_pb2_grpc import TetrisServicer
from tetris.wire import claim_from_wire
from tetrisd.claims import MAX_RANK, MAX_TENSORS
from tetrisd.convert import (
    lease_to_wire,
    model_to_wire,
    publishing_to_wire,
    segment_to_wire,
    stats_to_wire,
)
from tetrisd.events import Events
from tetrisd.library import Library
from tetrisd.patience import patience
from tetrisd.sources import Source, StreamSource
from tetrisd.tenant import Tenant

log = logging.getLogger("tetrisd")

# Of the server's threads, how many may publish or wait for a publisher at once.
MAX_PUBLISHES = 48

_WENT_AWAY = "the client went away in mid-publish"
# Seconds between the end of a dead client's stream and that of its call, at most.
_MOMENT = 0.2
# Of a name that a client gives for people.
_MAX_NAME = 200

_Method = TypeVar("_Method", bound=Callable[..., Any])


@contextmanager
def _status(method: str, context: grpc.ServicerContext) -> Iterator[None]:
    """Turn what is raised into a status; an unforeseen error stays in the log."""
    try:
        yield
    except TetrisError as refused:
        context.abort(code_of(refused), details_of(refused))
    except grpc.RpcError:
        # Raised by the stream of requests when its other end is gone.
        log.info("%s: the client went away", method)
        context.abort(grpc.StatusCode.CANCELLED, "the client went away")
    except Exception:
        log.exception("%s failed", method)
        context.abort(grpc.StatusCode.INTERNAL, f"{method} failed: see the daemon's log")


def answers(method: _Method) -> _Method:
    """A method that computes its whole answer, however it is sent."""

    @functools.wraps(method)
    def call(self: Any, request: Any, context: grpc.ServicerContext) -> Any:
        with _status(method.__name__, context):
            return method(self, request, context)

    return call  # type: ignore[return-value]


def answers_stream(method: _Method) -> _Method:
    """A method that computes its answer while it is sent."""

    @functools.wraps(method)
    def call(self: Any, request: Any, context: grpc.ServicerContext) -> Any:
        with _status(method.__name__, context):
            yield from method(self, request, context)

    return call  # type: ignore[return-value]


def watched(
    events: Events, tenant: str | None, context: grpc.ServicerContext
) -> Iterator[pb.Event]:
    """Events as they come, until the client goes or the daemon ends.

    Args:
        events: where they are said.
        tenant: only this one's; None: all.
        context: of the call.
    """
    with events.watch(tenant) as watcher:
        if context.add_callback(watcher.end):
            context.send_initial_metadata(())  # from here on nothing is missed
            yield from watcher.events()


class Servicer(TetrisServicer):
    """What a tenant's clients may ask for.

    Args:
        tenant: whose.
        events: what it may watch its own of.
    """

    def __init__(self, tenant: Tenant, events: Events) -> None:
        self._tenant = tenant
        self._events = events
        self._library = Library(())
        self._idle_seconds = 0.0
        self._stopping = threading.Event()
        self._publishes = threading.BoundedSemaphore(MAX_PUBLISHES)

    def configure(self, library: Library, idle_seconds: float) -> None:
        """Answer like this from now on.

        Args:
            library: the models that the daemon may read itself.
            idle_seconds: a client that sends nothing for this long in mid-publish is cut off.
        """
        self._library = library
        self._idle_seconds = idle_seconds

    def end(self) -> None:
        """Give up what takes long: the server is to stop."""
        self._stopping.set()
        self._events.end(self._tenant.name)

    @answers
    def Publish(  # noqa: N802
        self, requests: Iterator[pb.PublishRequest], context: grpc.ServicerContext
    ) -> pb.PublishResponse:
        """A model from the client's bytes."""
        with self._place(), patience(self._idle_seconds, context.cancel) as sign:
            header = _header(next(requests, None))
            claims = [claim_from_wire(t) for t in header.tensors]
            announced = sum(claim.nbytes for claim in claims if claim.same_as is None)
            chunks = _all_there(_signed(requests, sign), announced, context)
            source = StreamSource(header.fingerprint, header.name, claims, chunks)

            def wanted() -> bool:
                sign()  # asked while it waits for another publisher: that is no idleness
                return context.is_active() and not self._stopping.is_set()

            return self._publish(source, _keep_alive(header), wanted)

    @answers
    def PublishPath(  # noqa: N802
        self, request: pb.PublishPathRequest, context: grpc.ServicerContext
    ) -> pb.PublishResponse:
        """A model from files that the daemon reads."""
        with self._place(), self._library.open(request.path) as source:

            def wanted() -> bool:
                # Once begun it goes on without its client, unless that has said otherwise: the
                # next one finds the model resident.
                given_up = request.ends_with_call and not context.is_active()
                return not given_up and not self._stopping.is_set()

            return self._publish(source, _keep_alive(request), wanted, patient=context.is_active)

    @answers
    def Attach(  # noqa: N802
        self, request: pb.AttachRequest, context: grpc.ServicerContext
    ) -> pb.AttachResponse:
        """A lease, and the manifest."""
        who = request.holder
        lease, manifest = self._tenant.attach(
            request.fingerprint, who.pid, who.command[:200], who.host[:200]
        )
        return pb.AttachResponse(
            lease=lease.id, view=self._tenant.view(), manifest=self._tenant.wire(manifest)
        )

    @answers
    def Release(  # noqa: N802
        self, request: pb.ReleaseRequest, context: grpc.ServicerContext
    ) -> pb.ReleaseResponse:
        """The end of a lease."""
        return pb.ReleaseResponse(removed=self._tenant.release(request.lease))

    @answers
    def ListModels(  # noqa: N802
        self, request: pb.ListModelsRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.ModelSummary]:
        """Every model."""
        return iter([model_to_wire(info) for info in self._tenant.info()])

    @answers
    def ListSegments(  # noqa: N802
        self, request: pb.ListSegmentsRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.Segment]:
        """Every segment."""
        return iter([segment_to_wire(s) for s in self._tenant.segments_info(request.model)])

    @answers
    def ListLeases(  # noqa: N802
        self, request: pb.ListLeasesRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.Lease]:
        """Every lease."""
        return iter([lease_to_wire(lease) for lease in self._tenant.leases.live()])

    @answers
    def GetModel(  # noqa: N802
        self, request: pb.GetModelRequest, context: grpc.ServicerContext
    ) -> pb.GetModelResponse:
        """One manifest."""
        return pb.GetModelResponse(
            manifest=self._tenant.wire(self._tenant.models.lookup(request.model))
        )

    @answers
    def GetStats(  # noqa: N802
        self, request: pb.GetStatsRequest, context: grpc.ServicerContext
    ) -> pb.GetStatsResponse:
        """The numbers."""
        return stats_to_wire(self._tenant.stats())

    @answers
    def ListPublishes(  # noqa: N802
        self, request: pb.ListPublishesRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.Publishing]:
        """Every publish under way."""
        return iter([publishing_to_wire(each) for each in self._tenant.publishing()])

    @answers_stream
    def Watch(  # noqa: N802
        self, request: pb.WatchRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.Event]:
        """The tenant's events as they come."""
        yield from watched(self._events, self._tenant.name, context)

    @answers
    def ReportFallback(  # noqa: N802
        self, request: pb.ReportFallbackRequest, context: grpc.ServicerContext
    ) -> pb.ReportFallbackResponse:
        """A model that was loaded the stock way."""
        known = request.reason and request.reason in pb.ReportFallbackRequest.Reason.values()
        reason = request.reason if known else pb.ReportFallbackRequest.FAILED
        name = pb.ReportFallbackRequest.Reason.Name(reason).lower()
        self._tenant.fallback(request.model[:_MAX_NAME], name)
        return pb.ReportFallbackResponse()

    @contextmanager
    def _place(self) -> Iterator[None]:
        """One of the places for publishers: each keeps a thread, and others need some too."""
        if not self._publishes.acquire(blocking=False):
            raise ConflictError(f"{MAX_PUBLISHES} publishes are under way: try again in a moment")
        try:
            yield
        finally:
            self._publishes.release()

    def _publish(
        self,
        source: Source,
        keep_alive: int | None,
        wanted: Callable[[], bool],
        patient: Callable[[], bool] = lambda: True,
    ) -> pb.PublishResponse:
        manifest, published = self._tenant.publish(
            source, keep_alive=keep_alive, wanted=wanted, patient=patient
        )
        return pb.PublishResponse(manifest=self._tenant.wire(manifest), published=published)


def _header(first: pb.PublishRequest | None) -> pb.PublishHeader:
    if first is None or first.WhichOneof("part") != "header":
        raise InvalidModelError("a publish starts with a header")
    # Counted before any is converted: each costs far more here than on the wire.
    if len(first.header.tensors) > MAX_TENSORS:
        raise InvalidModelError(
            f"model {first.header.name[:80]}: {len(first.header.tensors)} tensors, "
            f"at most {MAX_TENSORS} go"
        )
    rank = max((len(t.shape) for t in first.header.tensors), default=0)
    strings = sum(len(t.strings) for t in first.header.tensors)
    if rank > MAX_RANK or strings > MAX_STRINGS:
        raise InvalidModelError(
            f"model {first.header.name[:80]}: a shape of {rank} dimensions and {strings} strings, "
            f"at most {MAX_RANK} and {MAX_STRINGS} go"
        )
    return first.header


def _signed(requests: Iterator[pb.PublishRequest], sign: Callable[[], None]) -> Iterator[bytes]:
    """The data that follows a header; each message that brings any is a sign of life."""
    try:
        for message in requests:
            if message.WhichOneof("part") != "data":
                raise InvalidModelError("after the header of a publish only data follows")
            if message.data:
                sign()
                yield message.data
    except grpc.RpcError:
        raise ConflictError(_WENT_AWAY) from None


def _all_there(
    chunks: Iterator[bytes], announced: int, context: grpc.ServicerContext
) -> Iterator[bytes]:
    """The chunks; when they are too few, the client may have gone.

    To gRPC a client that dies has ended its stream, and a moment later its call.
    """
    for chunk in chunks:
        announced -= len(chunk)
        yield chunk
    deadline = time.monotonic() + _MOMENT
    while announced > 0 and time.monotonic() < deadline:
        if not context.is_active():
            raise ConflictError(_WENT_AWAY)
        time.sleep(0.01)


def _keep_alive(request: pb.PublishHeader | pb.PublishPathRequest) -> int | None:
    return request.keep_alive_seconds if request.HasField("keep_alive_seconds") else None
