"""Means over response tokens, and counts, between two lines of the trainer's log, over all ranks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pact_plugins.distributed import is_distributed, summed


class MetricMeans:
    """Streaming means by name, and counts.

    Args:
        counts: names of counts; they are in every result, on every rank.
    """

    def __init__(self, counts: Sequence[str] = ()) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, float] = dict.fromkeys(counts, 0.0)

    def count(self, name: str, number: int) -> None:
        """Add to a count."""
        self._counts[name] += number

    def add(self, name: str, values: Tensor) -> None:
        """Add (N,) values, each of equal weight."""
        total = values.detach().float().sum()
        entry = torch.stack([total, torch.full_like(total, values.numel())]).cpu().double()
        self._sums[name] = self._sums[name] + entry if name in self._sums else entry

    def take(self) -> dict[str, float]:
        """Means and counts since the last call; means without any value are left out. Every rank must call it."""
        # A rank that saw no response token has not measured these; all ranks must reduce the same names.
        names = sorted({*self._sums, *_CONDITIONAL}) if is_distributed() else sorted(self._sums)
        empty = torch.zeros(2, dtype=torch.float64)
        reduced = summed([value for name in names for value in self._sums.get(name, empty).tolist()])
        self._sums = {}
        pairs = zip(names, reduced[::2], reduced[1::2], strict=True)
        means = {name: total / count for name, total, count in pairs if count}
        counts = dict(zip(self._counts, summed(list(self._counts.values())), strict=True))
        self._counts = dict.fromkeys(self._counts, 0.0)
        return {**means, **counts}


_CONDITIONAL = ("reference_safety_mass", "safety_mass")
