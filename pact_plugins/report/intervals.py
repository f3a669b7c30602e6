"""Counts and means with their uncertainty: Wilson for rates, bootstrap over prompts, and over seeds and prompts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
_CHUNK = 1_000_000  # resampled values held at once
RESAMPLES = 2000
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


def paired_increase(before: Sequence[bool], after: Sequence[bool], *, confidence: float = 0.95) -> Interval:
    """How much more often something holds ``after`` than ``before``, on the same rows, with one-sided bounds.

    Newcombe's hybrid score interval for paired proportions (R. G. Newcombe, 1998, method 10): honest where no row has
    changed, where a bootstrap has no width. ``low`` and ``high`` are each exceeded with the probability
    1 - ``confidence``.

    Raises:
        ValueError: the rows are not paired, or there is none.
    """
    if len(before) != len(after) or not before:
        raise ValueError("paired rows are needed, and at least one")
    total = len(before)
    both = sum(left and right for left, right in zip(before, after, strict=True))
    gained, lost = sum(after) - both, sum(before) - both
    neither = total - both - gained - lost
    z = NormalDist().inv_cdf(confidence)
    (low_before, high_before), (low_after, high_after) = (_wilson(sum(rows), total, z) for rows in (before, after))
    first, second = sum(before) / total, sum(after) / total
    margins = (both + gained) * (neither + lost) * (both + lost) * (neither + gained)
    excess = both * neither - gained * lost
    # The continuity correction of method 10, and no correlation where a margin is empty.
    corrected = max(excess - total / 2, 0.0) if excess > 0 else float(excess)
    phi = corrected / math.sqrt(margins) if margins else 0.0
    increase = second - first
    down = _joined(second - low_after, high_before - first, phi)
    up = _joined(high_after - second, first - low_before, phi)
    return Interval(increase, increase - down, increase + up, total)


def _joined(left: float, right: float, correlation: float) -> float:
    return math.sqrt(max(left**2 - 2 * correlation * left * right + right**2, 0.0))


def _wilson(count: int, total: int, z: float) -> tuple[float, float]:
    centre, half = count + z**2 / 2, z * math.sqrt(count * (total - count) / total + z**2 / 4)
    return (centre - half) / (total + z**2), (centre + half) / (total + z**2)


@dataclass(frozen=True)
class Interval:
    """A mean with the ends of its 95 % interval, over `rows` prompts."""

    value: float
    low: float
    high: float
    rows: int


def bootstrap_interval(values: Values, samples: int, rng: np.random.Generator) -> Interval:
    """Mean of `values` (rows,) and its 95 % interval over resampled rows; NaN rows are left out."""
    kept = values[~np.isnan(values)]
    if kept.size == 0:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    step = max(1, _CHUNK // kept.size)
    means = np.concatenate(
        [
            kept[rng.integers(0, kept.size, size=(min(step, samples - done), kept.size))].mean(axis=1)
            for done in range(0, samples, step)
        ]
    )
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(kept.mean()), float(low), float(high), int(kept.size))


def mean_interval(values: Values, samples: int, rng: np.random.Generator) -> Interval:
    """Mean of `values` (rows,) and its 95 % interval: Wilson's where all are 0 or 1, else over resampled rows."""
    kept = values[~np.isnan(values)]
    if not kept.size or not _is_binary(kept):
        return bootstrap_interval(values, samples, rng)
    rate = Rate(int(kept.sum()), int(kept.size))
    return Interval(rate.value, *rate.interval, rate.total)


def difference_interval(after: Values, before: Values, samples: int, rng: np.random.Generator) -> Interval:
    """Mean of `after` - `before`, paired (rows,), and its 95 % interval: Newcombe's where all are 0 or 1."""
    kept = ~np.isnan(after - before)
    if not kept.any() or not (_is_binary(after[kept]) and _is_binary(before[kept])):
        return bootstrap_interval(after - before, samples, rng)
    return paired_increase((before[kept] == 1).tolist(), (after[kept] == 1).tolist(), confidence=0.975)


def _is_binary(values: Values) -> bool:
    return bool(np.isin(values, (0.0, 1.0)).all())


@dataclass(frozen=True)
class Figure:
    """Fractions over the seeds.

    Attributes:
        mean: of the seeds' means.
        worst: the worst seed's mean.
        low, high: 95 % bootstrap interval of the mean: seeds are resampled, then prompts within each; Wilson's over
            the prompts where the bootstrap has no width.
        seeds: how many.
    """

    mean: float
    worst: float
    low: float
    high: float
    seeds: int

    def as_dict(self) -> dict[str, float]:
        """Rounded, for JSON."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


def figure(samples: Sequence[Sequence[float]], *, higher_is_better: bool, resamples: int = RESAMPLES) -> Figure | None:
    """One figure from the values of each seed; None where there are no values.

    Args:
        samples: a sequence of values in [0, 1] for each seed.
    """
    arrays = [np.asarray(values, dtype=float) for values in samples if len(values)]
    if not arrays:
        return None
    means = [float(values.mean()) for values in arrays]
    rng = np.random.default_rng(0)
    # The mean over resampled prompts, for every seed; then, for every resample, which seeds are in it.
    resampled = np.stack(
        [values[rng.integers(0, len(values), size=(resamples, len(values)))].mean(axis=1) for values in arrays]
    )
    chosen = rng.integers(0, len(arrays), size=(len(arrays), resamples))
    low, high = np.quantile(resampled[chosen, np.arange(resamples)].mean(axis=0), [0.025, 0.975])
    if low == high and low in (0.0, 1.0):
        # The bootstrap has no width where no prompt or every prompt counts. Seeds answer the same prompts, which are
        # what one may be unlucky with: Wilson's interval over these.
        prompts = max(values.size for values in arrays)
        low, high = Rate(round(low * prompts), prompts).interval
    worst = min(means) if higher_is_better else max(means)
    return Figure(float(np.mean(means)), worst, float(low), float(high), len(arrays))
