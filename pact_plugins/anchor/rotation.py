"""Which anchors an optimizer step sees: a balanced rotation that is a pure function of its place in the run.

No generator is carried along, so a resumed run draws what an uninterrupted one would have drawn.
"""

from __future__ import annotations

from functools import lru_cache

import torch

from pact_plugins.batch.micro_batch import StepIndex


def drawn_indices(step_index: StepIndex, count: int, *, harmful: int, harmless: int) -> list[int]:
    """Indices into the anchors, harmful ones first in the numbering: 0 to ``harmful`` - 1, then the harmless ones.

    Half are harmful and half harmless; of an odd ``count``, the odd one is harmful in every other step. While ``count``
    stays the same, every anchor of a kind is drawn equally often.

    Args:
        count: how many, at most ``harmful + harmless``.
        harmful, harmless: how many there are, each at least 1.
    """
    half, odd = divmod(count, 2)
    earlier_odd_harmful = odd * ((step_index.number + 1) // 2)
    earlier_odd_harmless = odd * (step_index.number // 2)
    odd_is_harmful = step_index.number % 2 == 0
    from_harmful = half + (odd if odd_is_harmful else 0)
    from_harmless = half + (0 if odd_is_harmful else odd)
    return [
        *_rotation(harmful, step_index.number * half + earlier_odd_harmful, from_harmful, kind=0),
        *(
            harmful + i
            for i in _rotation(harmless, step_index.number * half + earlier_odd_harmless, from_harmless, kind=1)
        ),
    ]


def _rotation(size: int, start: int, count: int, *, kind: int) -> list[int]:
    """``count`` entries from ``start`` on of an endless row of shuffled rounds."""
    return [_round(size, place // size, kind)[place % size] for place in range(start, start + count)]


@lru_cache(maxsize=64)
def _round(size: int, number: int, kind: int) -> tuple[int, ...]:
    generator = torch.Generator().manual_seed(2 * number + kind)
    return tuple(torch.randperm(size, generator=generator).tolist())
