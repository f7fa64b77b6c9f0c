"""Which models go when room is needed: a pure function of what is known about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that may go: not pinned, and no lease on it.

    Attributes:
        key: of the caller's choice.
        used_ns: when it was last used.
        segments: bytes of each segment, by pool and digest, that would go with the last model that
            names it. One that is mapped stays in any case: leave it out.
    """

    key: Any
    used_ns: int
    segments: Mapping[tuple[Hashable, bytes], int]

    @property
    def saving(self) -> int:
        """Bytes that go with it if nobody else names its segments."""
        return sum(self.segments.values())


def victims(
    candidates: Sequence[Candidate], users: Mapping[Hashable, int], needed: int
) -> list[Candidate]:
    """The models to evict so that ``needed`` bytes are freed.

    Least recently used first, to the second; of equals the one that saves most. A shared segment
    goes with the last model that names it, so a model may have to go for another to free anything,
    and one whose going adds nothing stays.

    Args:
        candidates: models.
        users: how many published models name each segment.
        needed: bytes.

    Returns:
        All candidates when even they do not free ``needed``.
    """
    order = sorted(candidates, key=lambda c: (c.used_ns // _SECOND, -c.saving))
    going = _Going(users)
    chosen: list[Candidate] = []
    for candidate in order:
        if going.freed >= needed:
            break
        going.add(candidate)
        chosen.append(candidate)
    for candidate in list(reversed(chosen)):
        if going.freed - going.share(candidate) >= needed:
            going.discard(candidate)
            chosen.remove(candidate)
    return chosen


def freeable(candidates: Sequence[Candidate], users: Mapping[Hashable, int]) -> int:
    """Bytes that go when all of ``candidates`` do."""
    going = _Going(users)
    for candidate in candidates:
        going.add(candidate)
    return going.freed


class _Going:
    """A set of models that go, and the bytes that go with them."""

    def __init__(self, users: Mapping[Hashable, int]) -> None:
        self._users = users
        self._losing: Counter[Hashable] = Counter()
        self.freed = 0

    def add(self, model: Candidate) -> None:
        self._losing.update(model.segments.keys())
        self.freed += self.share(model)

    def discard(self, model: Candidate) -> None:
        self.freed -= self.share(model)
        self._losing.subtract(model.segments.keys())

    def share(self, model: Candidate) -> int:
        """Bytes that go only because this one of them does."""
        return sum(n for s, n in model.segments.items() if self._losing[s] == self._users[s])
