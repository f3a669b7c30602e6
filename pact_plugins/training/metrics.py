"""Means over response tokens between two lines of the trainer's log, over all ranks."""

from __future__ import annotations

import torch
from torch import Tensor

from pact_plugins.distributed import is_distributed, summed


class MetricMeans:
    """Streaming means by name."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}

    def add(self, name: str, values: Tensor) -> None:
        """Add (N,) values, each of equal weight."""
        total = values.detach().float().sum()
        entry = torch.stack([total, torch.full_like(total, values.numel())]).cpu().double()
        self._sums[name] = self._sums[name] + entry if name in self._sums else entry

    def take(self) -> dict[str, float]:
        """The means since the last call; names without any value are left out. Every rank must call it."""
        # A rank that saw no response token has not measured these; all ranks must reduce the same names.
        names = sorted({*self._sums, *_CONDITIONAL}) if is_distributed() else sorted(self._sums)
        empty = torch.zeros(2, dtype=torch.float64)
        reduced = summed([value for name in names for value in self._sums.get(name, empty).tolist()])
        self._sums = {}
        pairs = zip(names, reduced[::2], reduced[1::2], strict=True)
        return {name: total / count for name, total, count in pairs if count}


_CONDITIONAL = ("reference_safety_mass", "safety_mass")
