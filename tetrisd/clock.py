"""Two clocks: one for people, one for ages."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


def _since_boot_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class Clock:
    """Where the daemon gets its times from.

    Attributes:
        wall_ns: nanoseconds since 1970: shown, never compared, for an administrator may set it.
        boot_ns: nanoseconds since the host was started: ages are differences of these. It never
            jumps, and a root, which is on a tmpfs, never outlives it.
    """

    wall_ns: Callable[[], int] = time.time_ns
    boot_ns: Callable[[], int] = _since_boot_ns
