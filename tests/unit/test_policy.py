"""Least recently used first, of equals the largest saving, and never more than is needed."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tetrisd.policy import Candidate, freeable, victims

SECOND = 1_000_000_000


def model(key, used, **segments):
    return Candidate(key, used * SECOND, {("pool", k.encode()): n for k, n in segments.items()})


def users(*models, **others):
    found = Counter(s for m in models for s in m.segments)
    found.update({("pool", k.encode()): n for k, n in others.items()})
    return found


def keys(chosen):
    return [c.key for c in chosen]


def test_the_least_recently_used_goes_first():
    old, new = model("old", 1, a=10), model("new", 2, b=10)
    assert keys(victims([new, old], users(old, new), 5)) == ["old"]


def test_of_equals_the_largest_saving_goes_first():
    small, large = model("small", 1, a=10), model("large", 1, b=99)
    assert keys(victims([small, large], users(small, large), 5)) == ["large"]


def test_a_segment_that_somebody_else_names_saves_nothing():
    shared, own = model("shared", 1, a=100), model("own", 2, b=10)
    assert keys(victims([shared, own], users(shared, own, a=1), 5)) == ["own"]
    assert freeable([shared, own], users(shared, own, a=1)) == 10


def test_two_that_share_go_together_when_only_that_helps():
    one, two = model("one", 1, a=100), model("two", 2, a=100)
    assert keys(victims([one, two], users(one, two), 50)) == ["one", "two"]


def test_one_whose_going_adds_nothing_stays():
    tiny, large = model("tiny", 1, a=1), model("large", 2, b=100)
    assert keys(victims([tiny, large], users(tiny, large), 50)) == ["large"]


@st.composite
def stores(draw):
    digests = "abcdef"
    sizes = {d: draw(st.integers(1, 50)) for d in digests}
    models = [
        model(
            i,
            draw(st.integers(0, 3)),
            **{d: sizes[d] for d in draw(st.sets(st.sampled_from(digests)))},
        )
        for i in range(draw(st.integers(0, 6)))
    ]
    others = {d: draw(st.integers(0, 1)) for d in digests}
    return models, users(*models, **others), draw(st.integers(0, 200))


@given(stores())
def test_enough_goes_if_there_is_enough_and_nothing_in_vain(store):
    models, named, needed = store
    chosen = victims(models, named, needed)
    if freeable(models, named) >= needed:
        assert freeable(chosen, named) >= needed
        for dispensable in chosen:
            rest = [c for c in chosen if c is not dispensable]
            assert freeable(rest, named) < needed


@pytest.mark.parametrize("needed", [0, -5])
def test_nothing_goes_for_nothing(needed):
    one = model("one", 1, a=1)
    assert victims([one], users(one), needed) == []
