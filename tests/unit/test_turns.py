"""One leads, the others wait; who stands still loses the turn."""

from __future__ import annotations

import threading

import pytest

from support.daemon import wait_until
from tetris.errors import ConflictError, UnavailableError
from tetrisd.turns import Turns


class Clock:
    """Time that moves when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_second_caller_waits_for_the_first_to_finish():
    turns = Turns(Clock(), idle_seconds=10)
    order: list[str] = []

    def second() -> None:
        with turns.lead("model"):
            order.append("second")

    with turns.lead("model"):
        thread = threading.Thread(target=second)
        thread.start()
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def test_different_keys_do_not_wait_for_each_other():
    turns = Turns(Clock(), idle_seconds=10)
    with turns.lead("a"), turns.lead("b"):
        pass


def test_a_leader_idle_past_the_limit_loses_its_turn_and_is_told():
    clock, told = Clock(), threading.Event()
    turns = Turns(clock, idle_seconds=10)
    with turns.lead("model", on_lost=told.set) as first:
        clock.now = 11
        with turns.lead("model") as second:
            assert told.is_set()
            with pytest.raises(ConflictError, match="took over"):
                first.progress()
            second.progress()


def test_progress_keeps_the_turn():
    clock = Clock()
    turns = Turns(clock, idle_seconds=10)
    with turns.lead("model") as first:
        clock.now = 9
        first.progress()
        clock.now = 15
        with pytest.raises(UnavailableError), turns.lead("model", wanted=lambda: False):
            pytest.fail("the turn was not free")
        first.progress()


def test_a_waiter_that_nobody_wants_any_more_leaves():
    turns = Turns(Clock(), idle_seconds=1000)
    left = threading.Event()
    wanted = [True]

    def waiter() -> None:
        try:
            with turns.lead("model", wanted=lambda: wanted[0]):
                pass
        except UnavailableError:
            left.set()

    with turns.lead("model"):
        thread = threading.Thread(target=waiter)
        thread.start()
        wanted[0] = False
        wait_until(left.is_set, what="the waiter's leaving")
    thread.join(10)


def test_the_turn_of_one_that_failed_is_free():
    turns = Turns(Clock(), idle_seconds=10)
    with pytest.raises(ValueError, match="boom"), turns.lead("model"):
        raise ValueError("boom")
    with turns.lead("model"):
        pass
