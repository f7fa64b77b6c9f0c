"""Boxes within a tensor: how a partitioned variable is stored, named and put together again.

A partitioned variable is saved as slices. Each is a box: along every axis a start and a length. The
index lists the boxes in the entry of the full tensor and keeps the bytes of each under a key of its
own, made from the tensor's name and the box.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import product
from math import prod

Extents = tuple[tuple[int, int], ...]
"""(start, length) for every axis."""

WHOLE = -1
"""The length by which a key, and only a key, says "all of this axis"."""


def encode_key(name: bytes, extents: Sequence[tuple[int, int]]) -> bytes:
    """The index key of one slice's data.

    It is the number 0, the name, the rank, and start and length of every axis, in an encoding that
    sorts as the values do:

    - an unsigned number: one byte that counts the following ones, then those, big-endian, no
      leading 0;
    - a string: its bytes, and 00 01 ends it (00 and ff are escaped; a name, being UTF-8 without
      NUL, has neither);
    - a signed number of n bytes holds values from -2**(7n-1) up to 2**(7n-1): n one bits, a zero
      bit, and the value in the 7n-1 bits left; all inverted for -1 minus the value.

    An axis taken whole without saying so in numbers has start 0 and length ``WHOLE``.
    """
    numbers = b"".join(_signed(start) + _signed(length) for start, length in extents)
    return _unsigned(0) + name + b"\x00\x01" + _unsigned(len(extents)) + numbers


def tiles(shape: Sequence[int], boxes: Sequence[Extents]) -> bool:
    """Whether the boxes cover every element of ``shape`` exactly once.

    Exact, and linear in the number of boxes. Count how many boxes hold each element: that function
    is 1 everywhere exactly when its differences along all axes are those of the full box, and the
    differences of a box are +1 and -1 at its corners. So the signed corners of all boxes must
    cancel to those of the full one. An axis that no box cuts takes no part.

    The cost doubles with every axis in ``cut_axes``.
    """
    full: Extents = tuple((0, size) for size in shape)
    axes = cut_axes(shape, boxes)
    corners: Counter[tuple[int, ...]] = Counter()
    for sign, box in [(-1, full), *((1, box) for box in boxes)]:
        ends = [
            ((start, 1), (start + length, -1)) for start, length in (box[axis] for axis in axes)
        ]
        for corner in product(*ends):
            corners[tuple(at for at, _ in corner)] += sign * prod(way for _, way in corner)
    return not any(corners.values())


def cut_axes(shape: Sequence[int], boxes: Sequence[Extents]) -> list[int]:
    """The axes along which some box is not the whole of ``shape``."""
    return [axis for axis, size in enumerate(shape) if any(box[axis] != (0, size) for box in boxes)]


def slice_runs(
    shape: Sequence[int], itemsize: int, extents: Extents
) -> Iterator[tuple[int, int, int]]:
    """The contiguous copies that put one slice's bytes into the full tensor's.

    Args:
        shape: of the full tensor.
        itemsize: bytes of an element.
        extents: the box, within ``shape``.

    Yields:
        (offset in the full tensor, offset in the slice, number of bytes), in ascending order of
        both, as few and as long as they can be: one for a slice along axis 0. None for an empty
        slice.
    """
    if not all(length for _, length in extents):
        return
    # From the last axis forward, as long as axes are taken whole, a run goes on across them; it
    # ends with the first axis that is cut.
    inner = len(shape)
    while inner and extents[inner - 1] == (0, shape[inner - 1]):
        inner -= 1
    inner = max(inner - 1, 0)
    strides = [prod(shape[axis + 1 :]) * itemsize for axis in range(len(shape))]
    nbytes = prod(length for _, length in extents[inner:]) * itemsize
    base = sum(start * stride for (start, _), stride in zip(extents, strides, strict=True))
    outer = list(zip((length for _, length in extents[:inner]), strides, strict=False))[::-1]
    for number in range(prod(length for length, _ in outer)):
        at, rest = base, number
        for length, stride in outer:
            rest, step = divmod(rest, length)
            at += step * stride
        yield at, number * nbytes, nbytes


def _unsigned(value: int) -> bytes:
    width = (value.bit_length() + 7) // 8
    return bytes([width]) + value.to_bytes(width, "big")


def _signed(value: int) -> bytes:
    magnitude = value if value >= 0 else ~value
    width = magnitude.bit_length() // 7 + 1
    code = ((1 << width) - 1) << (7 * width) | magnitude
    if value < 0:
        code ^= (1 << (8 * width)) - 1
    return code.to_bytes(width, "big")
