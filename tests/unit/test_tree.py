"""The tree shows every model once, below what it shares with, and stays readable."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from tetris.cli.tables import Table, render
from tetris.cli.terminal import Screen
from tetris.cli.tree import Key, Node, Sharing, forest, table


def size(segment: int) -> int:
    return 1 << segment % 40


def sharing(*models: set[int], apart: bool = False) -> Sharing:
    """Models named ``m0``, ``m1``, … of these segments; segment ``i`` has ``size(i)`` bytes."""
    tenant = {"tenant": "red"} if apart else {}
    rows = [
        {"fingerprint": str(i), "name": f"m{i}", "bytes": sum(size(s) for s in segments), **tenant}
        for i, segments in enumerate(models)
    ]
    segments = [
        {
            "digest": str(s),
            "bytes": size(s),
            "fingerprints": [str(i) for i, m in enumerate(models) if s in m],
            **tenant,
        }
        for s in set[int]().union(*models)
    ]
    return Sharing(rows, segments, {"red"} if apart else set())


def walk(nodes: list[Node]) -> Iterator[Node]:
    for node in nodes:
        yield node
        yield from walk(node.below)


MODELS = st.lists(st.sets(st.integers(0, 9), min_size=1), max_size=12)


@given(MODELS)
def test_every_model_stands_once_and_below_one_that_it_shares_with(models):
    found = list(walk(forest(sharing(*models))))
    assert sorted(node.name for node in found) == sorted(f"m{i}" for i in range(len(models)))
    for above in found:
        for node in above.below:
            one, other = models[int(above.key.fingerprint)], models[int(node.key.fingerprint)]
            assert node.shared == sum(size(s) for s in one & other) > 0


@given(MODELS)
def test_its_own_bytes_are_those_that_nobody_else_names(models):
    for node in walk(forest(sharing(*models))):
        index = int(node.key.fingerprint)
        others = set[int]().union(*models[:index], *models[index + 1 :])
        assert node.own == sum(size(s) for s in models[index] - others)


@given(MODELS)
def test_resident_counts_each_segment_once(models):
    assert sharing(*models).resident() == sum(size(s) for s in set[int]().union(*models))


def test_a_model_hangs_below_the_one_with_most_in_common():
    (root,) = forest(sharing({1, 2, 3}, {1, 4, 5}, {1, 4, 5, 6}))
    assert root.name == "m0"
    (below,) = root.below
    assert (below.name, below.shared) == ("m1", 2)
    assert [(n.name, n.shared) for n in below.below] == [("m2", 2 + 16 + 32)]


def test_tenants_with_segments_of_their_own_share_nothing():
    rows = [
        {"tenant": t, "fingerprint": "0", "name": "m", "bytes": 8, "published_unix_ns": 0}
        for t in ("red", "blue")
    ]
    segments = [
        {"tenant": t, "digest": "d", "bytes": 8, "fingerprints": ["0"]} for t in ("red", "blue")
    ]
    apart = Sharing(rows, segments, {"red"})
    assert apart.resident() == 16
    assert apart.common(Key("red", "0"), Key("blue", "0")) == 0
    assert Sharing(rows, segments, set()).common(Key("red", "0"), Key("blue", "0")) == 8


def lines(models: Sharing, *, wide: bool = False) -> list[str]:
    shown = table(forest(models), 10**6 if wide else 12)
    assert isinstance(shown, Table)
    return list(render(shown, Screen()))


def test_a_large_store_stays_readable_and_wide_shows_all_of_it():
    family = [{0, 20 + i} for i in range(300)]
    alone = [{1000 + i} for i in range(200)]
    shown = lines(sharing(*family, *alone))
    assert len(shown) < 20
    assert max(map(len, shown)) <= 80
    assert shown[-1].startswith("(200 that share nothing)")
    assert any("(287 more)" in line for line in shown)
    assert len(lines(sharing(*family, *alone), wide=True)) == 501


def test_a_chain_of_versions_does_not_walk_off_the_screen():
    shown = lines(sharing(*[{i, i + 1} for i in range(60)]), wide=True)
    assert len(shown) == 61
    assert max(len(line) - len(line.lstrip(" │├└─")) for line in shown) <= 12
