"""What a call leaves behind in its process, however often it is made."""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Callable
from typing import NamedTuple

_WARM_UP, CALLS = 300, 10_000
# The interpreter and TensorFlow allocate once in a while, for a table that grew for one; a leak
# shows in every round.
_ROUNDS = 3


class Growth(NamedTuple):
    """What there was more of after than before: zero of everything, or there is a leak."""

    descriptors: int
    mappings: int
    nbytes: int


class _Mallinfo(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


_mallinfo = ctypes.CDLL(None).mallinfo2
_mallinfo.restype = _Mallinfo


def growth(call: Callable[[], object], calls: int = CALLS) -> Growth:
    """What ``calls`` calls leave behind: the least of a few rounds, or the first that is 0."""
    _repeat(call, _WARM_UP)
    found = [_round(call, calls)]
    while any(found[-1]) and len(found) < _ROUNDS:
        found.append(_round(call, calls))
    return min(found, key=lambda grown: tuple(map(abs, grown)))


def _round(call: Callable[[], object], calls: int) -> Growth:
    gc.collect()
    before = _now()
    _repeat(call, calls)
    gc.collect()
    return Growth(*(b - a for a, b in zip(before, _now(), strict=True)))


def _repeat(call: Callable[[], object], times: int) -> None:
    for _ in range(times):
        call()


def _now() -> Growth:
    """What there is: open descriptors, mappings, and bytes that malloc has given out."""
    with open("/proc/self/maps", "rb") as maps:
        mappings = sum(1 for _ in maps)
    info = _mallinfo()
    return Growth(len(os.listdir("/proc/self/fd")), mappings, info.uordblks + info.hblkhd)
