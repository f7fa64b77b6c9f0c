"""Metrics for Prometheus: counters of events, and gauges that are read when somebody scrapes."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tetris import __version__
from tetris.v1 import tetris_pb2 as pb
from tetrisd.events import DIED, Kind
from tetrisd.keeper import Keeper
from tetrisd.store import Store

# Seconds: an attach takes milliseconds, a publish up to minutes.
_ATTACH_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_PUBLISH_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Metrics:
    """Every metric of a daemon.

    Labels have few values: a tenant is configured, and results and reasons are of short lists. No
    model and no client is a label.

    Args:
        store: read for the gauges.
        keeper: of whose scrub they tell.

    Attributes:
        registry: what is scraped.
    """

    def __init__(self, store: Store, keeper: Keeper) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.registry.register(_Gauges(store, keeper))
        self._publishes = self._counter(
            "tetris_publishes", "Publishes by result: published, or why not", "result"
        )
        self._published_bytes = self._counter(
            "tetris_published_bytes", "Bytes of new segments that publishes wrote"
        )
        self._publish_seconds = self._histogram(
            "tetris_publish_seconds", "Time of publishes that wrote a model", _PUBLISH_SECONDS
        )
        self._attaches = self._counter(
            "tetris_attaches", "Attaches by result: attached, or why not", "result"
        )
        self._attach_seconds = self._histogram(
            "tetris_attach_seconds", "Time from an attach to its answer", _ATTACH_SECONDS
        )
        self._leases_ended = self._counter(
            "tetris_leases_ended", "Leases that ended: released, or their holder died", "how"
        )
        self._evictions = self._counter(
            "tetris_evictions",
            "Models that went: expired, for room, collected or asked for",
            "reason",
        )
        self._evicted_bytes = self._counter(
            "tetris_evicted_bytes", "Bytes that evictions gave back at once"
        )
        self._fallbacks = self._counter(
            "tetris_fallbacks", "Loads without sharing that clients told of", "reason"
        )
        self._damaged = self._counter(
            "tetris_damaged_models", "Models published no more for a damaged segment"
        )
        self._reloads = Counter(
            "tetris_reloads", "Times that the settings were read again", registry=self.registry
        )

    def count(self, event: pb.Event) -> None:
        """Count an event: a listener of :class:`tetrisd.events.Events`."""
        count = self._COUNTS.get(event.kind)
        if count is not None:
            count(self, event)

    def _published(self, event: pb.Event) -> None:
        self._publishes.labels(event.tenant, "published").inc()
        self._published_bytes.labels(event.tenant).inc(event.nbytes)
        self._publish_seconds.labels(event.tenant).observe(event.seconds)

    def _not_published(self, event: pb.Event) -> None:
        self._publishes.labels(event.tenant, event.error).inc()

    def _attached(self, event: pb.Event) -> None:
        self._attaches.labels(event.tenant, "attached").inc()
        self._attach_seconds.labels(event.tenant).observe(event.seconds)

    def _not_attached(self, event: pb.Event) -> None:
        self._attaches.labels(event.tenant, event.error).inc()

    def _lease_ended(self, event: pb.Event) -> None:
        how = "died" if event.reason == DIED else "released"
        self._leases_ended.labels(event.tenant, how).inc()

    def _evicted(self, event: pb.Event) -> None:
        self._evictions.labels(event.tenant, event.reason).inc()
        self._evicted_bytes.labels(event.tenant).inc(event.nbytes)

    def _fell_back(self, event: pb.Event) -> None:
        self._fallbacks.labels(event.tenant, event.reason).inc()

    def _lost(self, event: pb.Event) -> None:
        self._damaged.labels(event.tenant).inc()

    def _reloaded(self, event: pb.Event) -> None:
        self._reloads.inc()

    _COUNTS: ClassVar = {
        Kind.MODEL_PUBLISHED: _published,
        Kind.PUBLISH_REFUSED: _not_published,
        Kind.MODEL_ATTACHED: _attached,
        Kind.ATTACH_REFUSED: _not_attached,
        Kind.LEASE_ENDED: _lease_ended,
        Kind.MODEL_EVICTED: _evicted,
        Kind.FALLBACK_REPORTED: _fell_back,
        Kind.MODEL_DAMAGED: _lost,
        Kind.SETTINGS_RELOADED: _reloaded,
    }

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(name, what, ("tenant", *labels), registry=self.registry)

    def _histogram(self, name: str, what: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, what, ("tenant",), buckets=buckets, registry=self.registry)


class _Gauges(Collector):
    """What is so now: read from the store at each scrape."""

    def __init__(self, store: Store, keeper: Keeper) -> None:
        self._store = store
        self._keeper = keeper

    def collect(self) -> Iterator[Metric]:
        """Every gauge, as they are now."""
        yield from self._host()
        yield from self._tenants()
        yield from self._scrub()
        yield from self._memory()

    def _host(self) -> Iterator[Metric]:
        stats = self._store.stats()
        build = GaugeMetricFamily(
            "tetris_build_info", "Always 1; labels say what runs", labels=("version", "python")
        )
        build.add_metric((__version__, platform.python_version()), 1)
        yield build
        for name, what, value in (
            ("models", "Published models", stats.models),
            ("leases", "Open leases", stats.leases),
            ("segments", "Resident segments", stats.segments),
            ("segments_referenced", "Segments that somebody maps now", stats.references),
            ("segments_quarantined", "Damaged segments that were taken out", stats.quarantined),
            ("resident_bytes", "Bytes of segments, each counted once", stats.resident),
            ("asked_bytes", "What private copies for every lease would take", stats.asked),
            ("saved_bytes", "Asked less resident, never below 0", stats.saved),
            ("charged_bytes", "What counts against the limit", stats.charged),
            ("limit_bytes", "What segments may take; 0: no limit", stats.limit),
            ("huge_pages_enabled", "1: the tmpfs gives huge pages", stats.huge_pages),
            ("start_time_seconds", "When the daemon began", stats.started_unix_ns / 1e9),
        ):
            yield GaugeMetricFamily(f"tetris_{name}", what, value=value)

    def _tenants(self) -> Iterator[Metric]:
        tenants = self._store.tenants()
        found = [(tenant, tenant.stats()) for tenant in tenants]
        for name, what, values in (
            ("models", "Published models", [s.models for _, s in found]),
            ("leases", "Open leases", [s.leases for _, s in found]),
            ("resident_bytes", "Bytes that its models name", [s.resident for _, s in found]),
            ("asked_bytes", "What private copies would take", [s.asked for _, s in found]),
            ("saved_bytes", "Asked less resident", [s.saved for _, s in found]),
            ("charged_bytes", "What counts against its quota", [s.charged for _, s in found]),
            ("quota_bytes", "What it may hold; 0: no limit", [t.quota for t, _ in found]),
            (
                "fair_share_bytes",
                "Bytes of its segments, each divided by the tenants that name it",
                [self._store.fair_share(t) for t, _ in found],
            ),
        ):
            family = GaugeMetricFamily(f"tetris_tenant_{name}", what, labels=("tenant",))
            for tenant, value in zip(tenants, values, strict=True):
                family.add_metric((tenant.name,), value)
            yield family

    def _scrub(self) -> Iterator[Metric]:
        scrub = self._keeper.scrub
        for name, what, value in (
            ("running", "1: a scrub is under way", scrub.running),
            ("done_bytes", "Read by the scrub under way, or the last one", scrub.done),
            ("total_bytes", "What that scrub has to read", scrub.total),
            ("last_end_time_seconds", "When the last one ended; 0: none has", scrub.ended_unix),
            ("findings", "Found since the start", scrub.findings),
        ):
            yield GaugeMetricFamily(f"tetris_scrub_{name}", what, value=float(value))

    def _memory(self) -> Iterator[Metric]:
        size, free, inodes = self._store.tmpfs()
        for name, what, value in (
            ("tmpfs_size_bytes", "Size of the tmpfs; 0: no limit", size),
            ("tmpfs_free_bytes", "What is free on it", free),
            ("tmpfs_free_inodes", "Files that it can take", inodes),
            (
                "host_shmem_huge_bytes",
                "Huge pages of all shared memory of this host",
                _shmem_huge_bytes(),
            ),
        ):
            yield GaugeMetricFamily(f"tetris_{name}", what, value=value)


def _shmem_huge_bytes() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("ShmemHugePages:"):
            return int(line.split()[1]) * 1024
    return 0
