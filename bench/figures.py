"""A published figure, what it should reach, and how both are printed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One number.

    Attributes:
        what: a sentence that says what was measured against what.
        value: the number.
        unit: ``x`` for a ratio.
        at_most, at_least: what it should reach.
        detail: the numbers it was made from.
    """

    what: str
    value: float
    unit: str
    at_most: float | None = None
    at_least: float | None = None
    detail: str = ""

    @property
    def reached(self) -> bool:
        """Whether it does."""
        high = self.at_most is None or self.value <= self.at_most
        return high and (self.at_least is None or self.value >= self.at_least)

    def row(self) -> tuple[str, str, str, str, str]:
        """For a table."""
        goal = f"≤ {self.at_most:g}" if self.at_most is not None else f"≥ {self.at_least:g}"
        text = f"{self.value:,.0f}" if abs(self.value) >= 1000 else f"{self.value:.3g}"
        mark = "yes" if self.reached else "NO"
        return self.what, f"{text} {self.unit}", f"{goal} {self.unit}", mark, self.detail

    def data(self) -> dict[str, Any]:
        """For programs."""
        return {**asdict(self), "reached": self.reached}
