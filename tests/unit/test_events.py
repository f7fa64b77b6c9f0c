"""Events are told at once, to each its own, and nobody who is slow holds anything up."""

from __future__ import annotations

import threading

import pytest

from support.store import MemorySource, Stored
from tetris.errors import ConflictError, InvalidModelError, NoSpaceError, TetrisError
from tetrisd.clock import Clock
from tetrisd.events import _BACKLOG, _WATCHERS, ABANDONED, Events, Kind, error_name, error_names
from tetrisd.settings import TenantSettings


@pytest.fixture
def events():
    return Events(Clock())


@pytest.fixture
def stored(memory):
    opened = Stored(memory / "root", TenantSettings("red"), TenantSettings("blue"))
    yield opened
    opened.close()


def taken(watcher, number):
    """So many events of a watcher that has them already."""
    found = watcher.events()
    return [next(found) for _ in range(number)]


def test_a_tenant_is_told_its_own_and_an_administrator_all(events):
    with events.watch("red") as red, events.watch(None) as host:
        for tenant in ("blue", "red", ""):
            events.say(Kind.MODEL_EVICTED, tenant, model=f"m of {tenant}")
        events.end()
        assert [e.tenant for e in red._events] == ["red"]
        assert [e.tenant for e in host._events] == ["blue", "red", ""]


def test_one_that_is_slow_loses_the_oldest_and_is_told_how_many(events):
    with events.watch("red") as watcher:
        for number in range(_BACKLOG + 7):
            events.say(Kind.MODEL_ATTACHED, "red", pid=number)
        lost, first = taken(watcher, 2)
        assert (lost.kind, lost.nbytes) == (Kind.EVENTS_LOST, 7)
        assert (first.kind, first.pid) == (Kind.MODEL_ATTACHED, 7)
        assert [e.pid for e in taken(watcher, _BACKLOG - 1)] == list(range(8, _BACKLOG + 7))


def test_too_many_watchers_of_one_tenant_are_refused_in_a_sentence(events):
    from contextlib import ExitStack

    with ExitStack() as open_ones:
        for _ in range(_WATCHERS):
            open_ones.enter_context(events.watch("red"))
        with pytest.raises(ConflictError, match="16 watch already: end one of them"):
            open_ones.enter_context(events.watch("red"))
        open_ones.enter_context(events.watch("blue"))
    with events.watch("red"):
        pass


@pytest.mark.parametrize("of", [None, "red"])
def test_the_end_reaches_whoever_waits(events, of):
    """Of one tenant, or of all."""
    with events.watch("red") as watcher:
        waiting = threading.Thread(target=lambda: list(watcher.events()))
        waiting.start()
        events.end("blue")
        assert waiting.is_alive()
        events.end(of)
        waiting.join(20)
        assert not waiting.is_alive()


def test_a_text_is_cut_and_made_to_fit_the_wire(events):
    """A name of many megabytes is not kept a thousand times, and one that is no UTF-8 is told."""
    with events.watch("red") as watcher:
        events.say(Kind.PUBLISH_REFUSED, "red", model="m" * 10_000_000)
        events.say(Kind.PUBLISH_REFUSED, "red", model="caf\udce9")
        events.end()
        long, odd = watcher._events
        assert long.ByteSize() < 5000
        assert odd.model == "caf\\udce9"


def test_every_error_has_a_name_of_its_own():
    assert error_name(NoSpaceError) == "no_space"
    assert {"not_found", "system_call", "corrupt_data"} <= set(error_names())
    assert len(set(error_names())) == len(error_names())


def test_a_watcher_learns_nothing_of_what_others_have(stored):
    """Bytes written and freed tell whether another tenant has the same: its watcher is told others.

    Neither by publishing a guess nor by its eviction.
    """

    def seen(tensors):
        with stored.store.events.watch("red") as watcher:
            stored.publish("guess", tensors, "red")
            stored.store.evict("red", "guess")
            return [(e.kind, e.nbytes) for e in taken(watcher, 2)]

    stored.publish("m", {"a": b"secret!!"}, "blue")
    right, wrong = seen({"a": b"secret!!"}), seen({"a": b"a guess!"})
    assert right == wrong == [(Kind.MODEL_PUBLISHED, 8), (Kind.MODEL_EVICTED, 8)]


def test_an_administrator_is_told_what_was_really_written_and_freed(stored):
    stored.publish("m", {"a": b"12345678"}, "blue")
    with stored.store.events.watch(None) as watcher:
        stored.publish("n", {"a": b"12345678", "b": b"1234"}, "red")
        stored.store.evict("red", "n")
        published, evicted = taken(watcher, 2)
    assert (published.nbytes, evicted.nbytes) == (4, 4096)


def test_a_tenant_is_told_of_bytes_that_are_new_to_it(stored):
    stored.publish("m", {"a": b"1234"}, "red")
    with stored.store.events.watch("red") as watcher:
        stored.publish("n", {"a": b"1234", "b": b"12345678"}, "red")
        stored.store.evict("red", "n")
        assert [e.nbytes for e in taken(watcher, 2)] == [8, 8]


def test_a_publish_that_nobody_wants_any_more_is_abandoned_and_not_refused(stored):
    with stored.store.events.watch("red") as watcher:
        with pytest.raises(TetrisError):
            stored.tenant("red").publish(MemorySource("m", {"a": b"1"}), wanted=lambda: False)
        with pytest.raises(InvalidModelError):
            stored.tenant("red").publish(MemorySource("\n", {"a": b"1"}))
        assert [e.error for e in taken(watcher, 2)] == [ABANDONED, "invalid_model"]
