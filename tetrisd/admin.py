"""The administrators' servicer: every tenant, and what stays resident."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import grpc

from tetris.errors import InvalidModelError
from tetris.v1 import admin_pb2 as pb
from tetris.v1 import tetris_pb2
from tetris.v1.admin_pb2_grpc import AdminServicer
from tetrisd.convert import lease_to_wire, model_to_wire, segment_to_wire, stats_to_wire
from tetrisd.events import Events
from tetrisd.service import answers, answers_stream, watched
from tetrisd.store import Store
from tetrisd.tenant import Tenant

# A verification says how far it is once in so many bytes.
_PROGRESS = 64 << 20


class Admin(AdminServicer):
    """What only the admin socket may ask for.

    Args:
        store: what does the work.
        events: what may be watched.
        reload: reads the settings again.
    """

    def __init__(
        self, store: Store, events: Events, reload: Callable[[], tuple[list[str], list[str]]]
    ) -> None:
        self._store = store
        self._events = events
        self._reload = reload

    @answers
    def ListTenants(  # noqa: N802
        self, request: pb.ListTenantsRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.TenantSummary]:
        """Every tenant."""
        return iter([self._summary(tenant) for tenant in self._store.tenants()])

    @answers
    def ListTenantModels(  # noqa: N802
        self, request: pb.ListTenantModelsRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.TenantModel]:
        """The models of one tenant, or of all."""
        return iter(
            [
                pb.TenantModel(tenant=tenant.name, model=model_to_wire(info))
                for tenant in self._asked(request.tenant)
                for info in tenant.info()
            ]
        )

    @answers
    def ListTenantLeases(  # noqa: N802
        self, request: pb.ListTenantLeasesRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.TenantLease]:
        """The leases of one tenant, or of all."""
        return iter(
            [
                pb.TenantLease(tenant=tenant.name, lease=lease_to_wire(lease))
                for tenant in self._asked(request.tenant)
                for lease in tenant.leases.live()
            ]
        )

    @answers
    def ListTenantSegments(  # noqa: N802
        self, request: pb.ListTenantSegmentsRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.TenantSegment]:
        """The segments of one tenant, or of all."""
        return iter(
            [
                pb.TenantSegment(tenant=tenant.name, segment=segment_to_wire(segment))
                for tenant in self._asked(request.tenant)
                for segment in tenant.segments_info()
            ]
        )

    @answers
    def GetHostStats(  # noqa: N802
        self, request: pb.GetHostStatsRequest, context: grpc.ServicerContext
    ) -> tetris_pb2.GetStatsResponse:
        """The numbers of the host."""
        return stats_to_wire(self._store.stats())

    @answers
    def Pin(self, request: pb.ModelRequest, context: grpc.ServicerContext) -> pb.ModelResponse:  # noqa: N802
        """Keep a model, used or not."""
        return self._change(request.tenant, request.model, pinned=True)

    @answers
    def Unpin(self, request: pb.ModelRequest, context: grpc.ServicerContext) -> pb.ModelResponse:  # noqa: N802
        """Let it go when its time comes."""
        return self._change(request.tenant, request.model, pinned=False)

    @answers
    def SetKeepAlive(  # noqa: N802
        self, request: pb.SetKeepAliveRequest, context: grpc.ServicerContext
    ) -> pb.ModelResponse:
        """Say when that time comes."""
        seconds = request.seconds if request.HasField("seconds") else None
        if seconds is not None and seconds < 0:
            raise InvalidModelError(f"keep-alive is {seconds} s: give 0 or more")
        return self._change(request.tenant, request.model, keep_alive=seconds)

    @answers
    def Evict(self, request: pb.ModelRequest, context: grpc.ServicerContext) -> pb.EvictResponse:  # noqa: N802
        """Remove a model, now or with its last user."""
        done = self._store.evict(request.tenant, request.model)
        return pb.EvictResponse(removed=done.removed, leases=done.leases, bytes_freed=done.freed)

    @answers
    def CollectGarbage(  # noqa: N802
        self, request: pb.CollectGarbageRequest, context: grpc.ServicerContext
    ) -> pb.CollectGarbageResponse:
        """Remove whatever nobody uses."""
        done = self._store.collect()
        return pb.CollectGarbageResponse(
            models=done.models, segments=done.segments, bytes_freed=done.freed
        )

    @answers
    def SetQuota(  # noqa: N802
        self, request: pb.SetQuotaRequest, context: grpc.ServicerContext
    ) -> pb.SetQuotaResponse:
        """Give a tenant another quota."""
        if request.bytes < 0:
            raise InvalidModelError(f"quota is {request.bytes} bytes: give 0 or more")
        tenant = self._store.tenant(request.tenant)
        tenant.set_quota(request.bytes)
        return pb.SetQuotaResponse(bytes_charged=tenant.charged())

    @answers_stream
    def Verify(  # noqa: N802
        self, request: pb.VerifyRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.VerifyProgress]:
        """Compare what is stored with what it must be, now."""
        said = 0
        for done, total, findings in self._store.verify(tenant=request.tenant, model=request.model):
            if not context.is_active():
                return
            if findings or done == total or done - said >= _PROGRESS:
                said = done
                yield pb.VerifyProgress(
                    bytes_checked=done,
                    bytes_total=total,
                    findings=[pb.Finding(subject=f.subject, fault=f.fault) for f in findings],
                )

    @answers_stream
    def WatchHost(  # noqa: N802
        self, request: tetris_pb2.WatchRequest, context: grpc.ServicerContext
    ) -> Iterator[tetris_pb2.Event]:
        """Everybody's events as they come."""
        yield from watched(self._events, None, context)

    @answers
    def Reload(  # noqa: N802
        self, request: pb.ReloadRequest, context: grpc.ServicerContext
    ) -> pb.ReloadResponse:
        """Read the settings again."""
        changed, needs_restart = self._reload()
        return pb.ReloadResponse(changed=changed, needs_restart=needs_restart)

    def _asked(self, name: str) -> list[Tenant]:
        return [self._store.tenant(name)] if name else list(self._store.tenants())

    def _change(self, tenant: str, model: str, **policy: object) -> pb.ModelResponse:
        owner = self._store.tenant(tenant)
        manifest = owner.change(owner.models.lookup(model), **policy)
        return pb.ModelResponse(model=model_to_wire(owner.info_of(manifest)))

    def _summary(self, tenant: Tenant) -> pb.TenantSummary:
        stats = tenant.stats(references=False)
        return pb.TenantSummary(
            name=tenant.name,
            socket=str(tenant.settings.socket),
            sharing=tenant.settings.sharing,
            models=stats.models,
            leases=stats.leases,
            bytes_charged=stats.charged,
            bytes_quota=tenant.quota,
            bytes_resident=stats.resident,
            bytes_asked=stats.asked,
            bytes_fair_share=self._store.fair_share(tenant),
        )
