"""What counts as a refusal of the reference's."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class RefusalCriterion:
    """A request is one that the reference would refuse where its reply begins so with more than a threshold.

    Attributes:
        opener_ids: (|R|,) int64, the tokens that open refusals.
        threshold: of their probability together.
    """

    opener_ids: Tensor
    threshold: float
