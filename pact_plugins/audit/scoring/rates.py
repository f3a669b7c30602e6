"""Counts as rates with their uncertainty."""

from __future__ import annotations

import math
from dataclasses import dataclass

# The two-sided 95 % quantile of the normal distribution.
_Z = 1.959963984540054


@dataclass(frozen=True)
class Rate:
    """``count`` of ``total``."""

    count: int
    total: int

    @property
    def value(self) -> float:
        """A fraction; not a number where ``total`` is 0."""
        return self.count / self.total if self.total else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval (E. B. Wilson, 1927): honest at 0 of n, where the plain one has no width."""
        if not self.total:
            return 0.0, 1.0
        shrink = 1 + _Z**2 / self.total
        centre = (self.value + _Z**2 / (2 * self.total)) / shrink
        half = _Z * math.sqrt(self.value * (1 - self.value) / self.total + _Z**2 / (4 * self.total**2)) / shrink
        # At the ends the formula gives exactly 0 or 1, up to rounding.
        low = 0.0 if self.count == 0 else max(0.0, centre - half)
        high = 1.0 if self.count == self.total else min(1.0, centre + half)
        return low, high

    def as_dict(self) -> dict[str, float | int | list[float] | None]:
        """JSON values; the rate is None where it is not a number."""
        return {
            "count": self.count,
            "total": self.total,
            "rate": self.value if self.total else None,
            "interval_95": list(self.interval),
        }

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.count} of {self.total} (95 % interval {100 * low:.1f} to {100 * high:.1f} %)"
