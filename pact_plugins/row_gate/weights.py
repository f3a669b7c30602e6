"""The row gate: how much a response's own cross-entropy counts, given how likely the reference would refuse."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

GateMode = Literal["report", "hard", "soft"]


def row_weights(refusal_mass: Tensor, mode: GateMode, *, threshold: float) -> Tensor:
    """``hard``: ``1 - [g > threshold]``; ``soft``: ``1 - g``; otherwise 1.

    Args:
        refusal_mass: (R,) ``g``, the reference's probability that each response begins with a refusal opening token.

    Returns:
        (R,) float32 in [0, 1], no gradient.
    """
    mass = refusal_mass.detach().float()
    if mode == "hard":
        return 1.0 - is_gated(mass, threshold=threshold).float()
    if mode == "soft":
        # A sum of float32 probabilities may exceed 1 by a rounding error.
        return (1.0 - mass).clamp(min=0.0)
    return torch.ones_like(mass)


def is_gated(refusal_mass: Tensor, *, threshold: float) -> Tensor:
    """(R,) bool: ``g > threshold``."""
    return refusal_mass > threshold
