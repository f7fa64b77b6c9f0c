"""What is so now: gauges that are read from the store when somebody scrapes."""

from __future__ import annotations

import platform
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tetris import __version__
from tetrisd.keeper import Keeper
from tetrisd.room import meminfo
from tetrisd.stats import Stats
from tetrisd.store import Store

# Looking takes a system call or two for each segment. It takes at most this share of one core's
# time, however many scrape and however often: in between they are told what was seen the last time.
_SHARE = 0.05

_Row = tuple[str, str, float]


class _Tenant(NamedTuple):
    name: str
    stats: Stats
    quota: int
    fair_share: int


class _Seen(NamedTuple):
    host: Stats
    tenants: list[_Tenant]


class Gauges(Collector):
    """Everything that is no counter of events.

    Args:
        store: what is looked at.
        keeper: of whose looks and scrub they tell.
        tenant_seen: told the name of every tenant that there is.
    """

    def __init__(self, store: Store, keeper: Keeper, tenant_seen: Callable[[str], object]) -> None:
        self._store = store
        self._keeper = keeper
        self._tenant_seen = tenant_seen
        self._looking = threading.Lock()
        self._seen: _Seen | None = None
        self._look_again = 0.0

    def collect(self) -> Iterator[Metric]:
        """Every gauge."""
        seen = self._look()
        for tenant in seen.tenants:
            self._tenant_seen(tenant.name)
        yield _build_info()
        for name, what, value in (*_of_host(seen.host), *self._of_memory(), *self._of_keeper()):
            yield GaugeMetricFamily(f"tetris_{name}", what, value=value)
        yield from _of_tenants(seen.tenants)
        for name, what, value in (
            ("findings", "Damage that scrubs have found", self._keeper.scrub.findings),
            ("read_bytes", "What scrubs have read", self._keeper.scrub.read),
        ):
            yield CounterMetricFamily(f"tetris_scrub_{name}", what, value=value)

    def _look(self) -> _Seen:
        with self._looking:
            begin = time.monotonic()
            if self._seen is None or begin >= self._look_again:
                self._seen = _Seen(
                    self._store.stats(),
                    [
                        _Tenant(
                            t.name, t.stats(references=False), t.quota, self._store.fair_share(t)
                        )
                        for t in self._store.tenants()
                    ],
                )
                end = time.monotonic()
                self._look_again = end + (end - begin) / _SHARE
            return self._seen

    def _of_keeper(self) -> Iterator[_Row]:
        keeper, scrub = self._keeper, self._keeper.scrub
        yield (
            "look_duration_seconds",
            "What the last look at leases and models took",
            keeper.look_seconds,
        )
        yield "last_look_timestamp_seconds", "When that look ended; 0: none has", keeper.looked_unix
        yield "scrub_running", "1: a scrub is under way", scrub.running
        yield "scrub_done_bytes", "Read by the scrub under way, or by the last one", scrub.done
        yield "scrub_total_bytes", "What that scrub has to read", scrub.total
        yield "scrub_interval_seconds", "Time between two scrubs; 0: none", keeper.scrub_every
        yield (
            "scrub_last_completed_timestamp_seconds",
            "When one ended; 0: none has",
            scrub.ended_unix,
        )

    def _of_memory(self) -> Iterator[_Row]:
        fs = self._store.tmpfs()
        memory = meminfo()
        yield "tmpfs_size_bytes", "Size of the tmpfs; 0: no limit", fs.f_blocks * fs.f_frsize
        yield "tmpfs_free_bytes", "What is free on it", fs.f_bavail * fs.f_frsize
        yield "tmpfs_size_inodes", "Files that it takes in all; 0: no limit", fs.f_files
        yield "tmpfs_free_inodes", "Files that it can take still", fs.f_favail
        yield (
            "host_shmem_bytes",
            "Shared memory of this host, of everybody, not Tetris alone",
            memory.get("Shmem", 0),
        )
        huge = memory.get("ShmemHugePages", 0)
        yield "host_shmem_huge_bytes", "What of that is in huge pages", huge


def _build_info() -> Metric:
    family = GaugeMetricFamily(
        "tetris_build_info", "Always 1; the labels say what runs", labels=("version", "python")
    )
    family.add_metric((__version__, platform.python_version()), 1)
    return family


def _of_host(stats: Stats) -> Iterator[_Row]:
    yield "models", "Published models", stats.models
    yield "leases", "Open leases", stats.leases
    yield "segments", "Resident segments", stats.segments
    yield "referenced_segments", "Segments that somebody maps now", stats.references
    yield "quarantined_segments", "Damaged segments, taken out and kept", stats.quarantined
    yield "resident_bytes", "Bytes of segments, each counted once", stats.resident
    yield "asked_bytes", "What private copies for every lease would take", stats.asked
    yield "saved_bytes", "Asked less resident, never below 0", stats.saved
    yield "charged_bytes", "What counts against the limit", stats.charged
    yield "limit_bytes", "What segments may take; 0: no limit", stats.limit
    yield "huge_pages_enabled", "1: the tmpfs gives huge pages", stats.huge_pages


def _of_tenants(tenants: list[_Tenant]) -> Iterator[Metric]:
    rows: tuple[tuple[str, str, Callable[[_Tenant], float]], ...] = (
        ("models", "Published models of a tenant", lambda t: t.stats.models),
        ("leases", "Open leases of a tenant", lambda t: t.stats.leases),
        (
            "resident_bytes",
            "Bytes of the segments that its models name",
            lambda t: t.stats.resident,
        ),
        ("asked_bytes", "What private copies for its leases would take", lambda t: t.stats.asked),
        ("saved_bytes", "Asked less resident, never below 0", lambda t: t.stats.saved),
        ("charged_bytes", "What counts against its quota", lambda t: t.stats.charged),
        ("quota_bytes", "What it may hold; 0: no limit", lambda t: t.quota),
        (
            "fair_share_bytes",
            "Bytes of its segments, each divided by the tenants that name it",
            lambda t: t.fair_share,
        ),
    )
    for name, what, value in rows:
        family = GaugeMetricFamily(f"tetris_tenant_{name}", what, labels=("tenant",))
        for tenant in tenants:
            family.add_metric((tenant.name,), value(tenant))
        yield family
