"""Which anchors an optimizer step sees: a balanced rotation that is a pure function of its place in the run.

No generator is carried along, so a resumed run draws what an uninterrupted one would have drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch

from pact_plugins.batch.micro_batch import StepIndex


def drawn_indices(step_index: StepIndex, count: int, sizes: Sequence[int]) -> list[int]:
    """Indices into the anchors, which are numbered kind by kind.

    The kinds take turns over all draws: each has an equal share of every one, and what does not divide goes round.
    While ``count`` stays the same, every anchor of a kind is drawn equally often.

    Args:
        count: how many, at most as many as there are.
        sizes: how many there are of each kind, at least 1.
    """
    kinds, found, offset = len(sizes), list[int](), 0
    for kind, size in enumerate(sizes):
        # Of the endless row of turns, this draw's are [number * count, (number + 1) * count).
        first, last = (
            -((kind - turn) // kinds) for turn in (step_index.number * count, (step_index.number + 1) * count)
        )
        found += [offset + _round(size, place // size, kind, kinds)[place % size] for place in range(first, last)]
        offset += size
    return found


@lru_cache(maxsize=64)
def _round(size: int, number: int, kind: int, kinds: int) -> tuple[int, ...]:
    generator = torch.Generator().manual_seed(kinds * number + kind)
    return tuple(torch.randperm(size, generator=generator).tolist())
