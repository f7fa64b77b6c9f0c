"""A peer that stands still is given up once; one that shows life is not."""

from __future__ import annotations

import threading

from tetrisd.patience import patience


def test_it_gives_up_after_its_time_without_a_sign():
    given_up = threading.Event()
    with patience(0.05, given_up.set):
        assert given_up.wait(10)


def test_it_waits_on_while_there_are_signs():
    """The clock is ours: forty seconds pass, never ten of them without a sign."""
    now, calls = [0.0], []
    with patience(10, lambda: calls.append(1), now=lambda: now[0]) as sign:
        for second in range(0, 40, 8):
            now[0] = float(second)
            sign()
    assert calls == []


def test_nothing_is_left_when_it_ends():
    before = threading.active_count()
    with patience(1000, lambda: None):
        assert threading.active_count() == before + 1
    assert threading.active_count() == before
