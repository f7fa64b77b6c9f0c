"""One leads, the others wait."""

from __future__ import annotations

import threading

import pytest

from support.daemon import wait_until
from tetris.errors import ConflictError
from tetrisd.turns import Turns


def always() -> bool:
    return True


def test_a_second_caller_waits_for_the_first_to_finish():
    turns = Turns()
    order: list[str] = []

    def second() -> None:
        with turns.lead("model", always):
            order.append("second")

    with turns.lead("model", always):
        thread = threading.Thread(target=second)
        thread.start()
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def test_different_keys_do_not_wait_for_each_other():
    turns = Turns()
    with turns.lead("a", always), turns.lead("b", always):
        pass


def test_a_waiter_that_nobody_wants_any_more_leaves():
    turns = Turns()
    left = threading.Event()
    wanted = [True]

    def waiter() -> None:
        try:
            with turns.lead("model", lambda: wanted[0]):
                pass
        except ConflictError:
            left.set()

    with turns.lead("model", always):
        thread = threading.Thread(target=waiter)
        thread.start()
        wanted[0] = False
        wait_until(left.is_set, what="the waiter's leaving")
    thread.join(10)


def test_the_turn_of_one_that_failed_is_free():
    turns = Turns()
    with pytest.raises(ValueError, match="boom"), turns.lead("model", always):
        raise ValueError("boom")
    with turns.lead("model", always):
        pass
