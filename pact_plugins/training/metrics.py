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
        entry = torch.stack([total, torch.full_like(total, values.numel())])
        # Apple's devices have no float64.
        entry = entry if entry.device.type == "mps" else entry.double()
        earlier = self._sums.get(name)
        self._sums[name] = entry if earlier is None else earlier + entry.to(earlier.device)

    def take(self) -> dict[str, float]:
        """Means and counts since the last call; means without any value are left out. Every rank must call it."""
        # A rank that saw no response token has not measured these; all ranks must reduce the same names.
        names = sorted({*self._sums, *_CONDITIONAL}) if is_distributed() else sorted(self._sums)
        read = _read(self._sums)
        reduced = summed([value for name in names for value in read.get(name, (0.0, 0.0))])
        self._sums = {}
        pairs = zip(names, reduced[::2], reduced[1::2], strict=True)
        means = {name: total / count for name, total, count in pairs if count}
        counts = dict(zip(self._counts, summed(list(self._counts.values())), strict=True))
        self._counts = dict.fromkeys(self._counts, 0.0)
        return {**means, **counts}


def _read(sums: dict[str, Tensor]) -> dict[str, list[float]]:
    """All of them, in one copy from the device."""
    if not sums:
        return {}
    device = next(iter(sums.values())).device
    return dict(zip(sums, torch.stack([entry.to(device) for entry in sums.values()]).tolist(), strict=True))


_CONDITIONAL = ("reference_safety_mass", "safety_mass", "term_angle", "term_share")
