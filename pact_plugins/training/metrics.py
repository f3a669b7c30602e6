"""Means over response tokens between two lines of the trainer's log, over all ranks."""

from __future__ import annotations

import torch
from torch import Tensor


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
        names = sorted(self._sums)
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        if distributed:
            names = _union(names)
        result = {}
        for name in names:
            entry = self._sums.get(name, torch.zeros(2, dtype=torch.float64))
            if distributed:
                device = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
                entry = entry.to(device)
                torch.distributed.all_reduce(entry)
            total, count = entry.tolist()
            if count:
                result[name] = total / count
        self._sums = {}
        return result


_NAMES = ("gate", "kl", "reference_safety_mass", "safety_mass")


def _union(names: list[str]) -> list[str]:
    """The same names in the same order on every rank, though one may have seen no response token."""
    return sorted({*names, *_NAMES})
