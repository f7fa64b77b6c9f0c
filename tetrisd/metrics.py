"""Metrics for Prometheus: counters of events; :mod:`tetrisd.gauges` has the rest."""

from __future__ import annotations

from typing import ClassVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)

from tetris.v1 import tetris_pb2 as pb
from tetrisd.events import (
    ABANDONED,
    ASKED,
    COLLECTED,
    DIED,
    EXPIRED,
    FALLBACKS,
    ROOM,
    Kind,
    error_names,
)
from tetrisd.gauges import Gauges
from tetrisd.keeper import Keeper
from tetrisd.store import Store

# Seconds: an attach takes milliseconds, a publish up to minutes.
_ATTACH_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_PUBLISH_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


# What can be said of each; every pair with a tenant is there from the start, at 0.
_RESULTS = (ABANDONED, *error_names())
_HOW = ("released", "died")
_EVICTIONS = (EXPIRED, ROOM, COLLECTED, ASKED)


class Metrics:
    """Every metric of a daemon.

    Labels have few values: a tenant is configured, and results and reasons are of short lists. No
    model and no client is a label.

    Args:
        store: read for the gauges.
        keeper: of whose looks and scrub they tell.

    Attributes:
        registry: what is scraped.
    """

    def __init__(self, store: Store, keeper: Keeper) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.registry.register(Gauges(store, keeper, self._begin))
        self._publishes = self._counter(
            "tetris_publishes",
            "Publishes that wrote a model, or why they did not; found resident, they do not count",
            "result",
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
        self._reload_worked = self._gauge(
            "tetris_config_last_reload_successful", "1: the settings could be read the last time"
        )
        self._reload_worked.set(1)
        self._reloaded_at = self._gauge(
            "tetris_config_last_reload_success_timestamp_seconds", "When that was so the last time"
        )
        self._reloaded_at.set_to_current_time()

    def count(self, event: pb.Event) -> None:
        """Count an event: a listener of :class:`tetrisd.events.Events`."""
        count = self._COUNTS.get(event.kind)
        if count is not None:
            count(self, event)

    def _begin(self, tenant: str) -> None:
        """Have all there is of a tenant, at 0: Prometheus sees no rise of what was not there."""
        for counter, seen in (
            (self._publishes, ("published", *_RESULTS)),
            (self._attaches, ("attached", *error_names())),
            (self._leases_ended, _HOW),
            (self._evictions, _EVICTIONS),
            (self._fallbacks, FALLBACKS),
        ):
            for value in seen:
                counter.labels(tenant, value)
        for metric in (self._published_bytes, self._evicted_bytes, self._damaged):
            metric.labels(tenant)
        for histogram in (self._publish_seconds, self._attach_seconds):
            histogram.labels(tenant)

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
        self._reload_worked.set(not event.error)
        if not event.error:
            self._reloaded_at.set_to_current_time()

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

    def _gauge(self, name: str, what: str) -> Gauge:
        return Gauge(name, what, registry=self.registry)
