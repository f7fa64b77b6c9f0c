"""Boxes within a tensor: their keys, whether they tile it, and how their bytes are placed."""

from __future__ import annotations

from itertools import pairwise, product
from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tetris.formats import slice_runs
from tetris.formats.slices import WHOLE, Extents, encode_key, tiles


@st.composite
def box_within(draw: st.DrawFn, shape: tuple[int, ...]) -> Extents:
    extents = []
    for size in shape:
        start = draw(st.integers(0, size))
        extents.append((start, draw(st.integers(0, size - start))))
    return tuple(extents)


shapes = st.lists(st.integers(0, 5), max_size=4).map(tuple)


@given(shapes.flatmap(lambda shape: st.tuples(st.just(shape), box_within(shape))))
def test_runs_place_a_slice_as_numpy_does(drawn: tuple[tuple[int, ...], Extents]) -> None:
    """Copying the runs equals assigning to the box."""
    shape, extents = drawn
    lengths = tuple(length for _, length in extents)
    part = np.arange(1, prod(lengths) + 1, dtype="<i4").reshape(lengths)
    expected = np.zeros(shape, "<i4")
    expected[tuple(slice(start, start + length) for start, length in extents)] = part
    full, source = bytearray(prod(shape) * 4), part.tobytes()
    position = 0
    for to, at, nbytes in slice_runs(shape, 4, extents):
        assert at == position
        position += nbytes
        full[to : to + nbytes] = source[at : at + nbytes]
    assert position == len(source)
    assert bytes(full) == expected.tobytes()


@pytest.mark.parametrize(
    ("extents", "runs"),
    [
        (((0, 4), (0, 6)), [(0, 0, 48)]),
        (((1, 2), (0, 6)), [(12, 0, 24)]),
        (((0, 4), (2, 3)), [(4, 0, 6), (16, 6, 6), (28, 12, 6), (40, 18, 6)]),
        (((1, 1), (2, 3)), [(16, 0, 6)]),
        (((1, 0), (2, 3)), []),
    ],
    ids=["all", "axis 0", "axis 1", "a row", "nothing"],
)
def test_runs_are_as_long_as_they_can_be(
    extents: Extents, runs: list[tuple[int, int, int]]
) -> None:
    """A slice along axis 0 is one run, one along axis 1 a run per row."""
    assert list(slice_runs((4, 6), 2, extents)) == runs


def test_runs_of_a_scalar() -> None:
    """A scalar has no axes and one element."""
    assert list(slice_runs((), 8, ())) == [(0, 0, 8)]


def test_runs_of_a_huge_tensor_come_one_by_one() -> None:
    """Nothing in proportion to the number of runs is made before the first."""
    assert next(iter(slice_runs((2**40, 2), 4, ((0, 2**40), (1, 1))))) == (4, 0, 4)


def cut(size: int, at: list[int]) -> list[tuple[int, int]]:
    edges = [0, *sorted(at), size]
    return [(a, b - a) for a, b in pairwise(edges)]


@given(st.data())
def test_grids_tile(data: st.DataObject) -> None:
    """Cutting along any axes gives a tiling; dropping or doubling a part with elements does not."""
    shape = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=4).map(tuple))
    cuts = [
        cut(size, data.draw(st.lists(st.integers(0, size), max_size=2, unique=True)))
        for size in shape
    ]
    boxes = list(product(*cuts))
    assert tiles(shape, boxes)
    victim = data.draw(st.sampled_from(boxes))
    if prod(length for _, length in victim):
        assert not tiles(shape, [box for box in boxes if box != victim])
        assert not tiles(shape, [*boxes, victim])


@given(st.lists(box_within((3, 4)), max_size=6))
def test_tiles_is_what_counting_says(boxes: list[Extents]) -> None:
    """Compared with counting every element."""
    counts = np.zeros((3, 4), int)
    for (a, n), (b, m) in boxes:
        counts[a : a + n, b : b + m] += 1
    assert tiles((3, 4), boxes) == bool((counts == 1).all())


def test_a_pinwheel_tiles() -> None:
    """A tiling need not be a grid."""
    pinwheel = [((0, 1), (0, 2)), ((0, 2), (2, 1)), ((2, 1), (1, 2)), ((1, 2), (0, 1))]
    assert not tiles((3, 3), pinwheel)
    assert tiles((3, 3), [*pinwheel, ((1, 1), (1, 1))])


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (0, "80"),
        (WHOLE, "7f"),
        (63, "bf"),
        (64, "c040"),
        (8191, "dfff"),
        (8192, "e02000"),
        (0x424242, "f0424242"),
        (-0x800, "3800"),
        (2**55, "ff8080000000000000"),
        (2**62 - 1, "ffbfffffffffffffff"),
        (2**63 - 1, "ffc07fffffffffffffff"),
    ],
)
def test_signed_numbers_in_keys(value: int, code: str) -> None:
    """The encoding whose bytes sort as the numbers do."""
    assert encode_key(b"a", [(value, 0)]).hex() == f"00{b'a'.hex()}00010101{code}80"


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))
def test_keys_sort_as_their_numbers(a: int, b: int) -> None:
    """Ascending starts give ascending keys."""
    assert (encode_key(b"v", [(a, 1)]) < encode_key(b"v", [(b, 1)])) == (a < b)
