"""Looking at a large store costs a bounded share of one core, however many scrape."""

from __future__ import annotations

import threading
import time

import pytest
from prometheus_client import generate_latest

from tetrisd.keeper import Keeper
from tetrisd.metrics import Metrics

COST = 0.1
REST = COST / 0.05


@pytest.fixture
def metrics(stored):
    return Metrics(stored.store, Keeper(stored.store))


def test_scrapes_share_a_look_that_was_costly(stored, metrics, monkeypatch):
    looks = []
    stats = stored.store.stats

    def slow():
        looks.append(time.monotonic())
        time.sleep(COST)
        return stats()

    monkeypatch.setattr(stored.store, "stats", slow)
    threads = [
        threading.Thread(target=generate_latest, args=(metrics.registry,)) for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ended = time.monotonic()
    assert len(looks) <= 1 + (ended - looks[0]) / REST
    while len(looks) == 1:
        generate_latest(metrics.registry)
    assert looks[1] - looks[0] >= REST


def test_the_first_scrape_has_every_counter_of_a_tenant_at_zero(metrics):
    """Prometheus sees no rise of what was not there: the first refusal would be lost."""
    text = generate_latest(metrics.registry).decode()
    for sample in (
        'tetris_publishes_total{result="no_space",tenant="default"} 0.0',
        'tetris_publishes_total{result="abandoned",tenant="default"} 0.0',
        'tetris_attaches_total{result="attached",tenant="default"} 0.0',
        'tetris_leases_ended_total{how="died",tenant="default"} 0.0',
        'tetris_evictions_total{reason="room",tenant="default"} 0.0',
        'tetris_fallbacks_total{reason="corrupt",tenant="default"} 0.0',
        'tetris_damaged_models_total{tenant="default"} 0.0',
        'tetris_attach_seconds_bucket{le="0.001",tenant="default"} 0.0',
    ):
        assert sample in text
    assert "_created" not in text
