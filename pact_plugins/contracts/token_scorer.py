"""A way to score safety tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["TokenScorer"]


@dataclass(frozen=True)
class TokenScorer:
    """A named way to score tokens.

    Attributes:
        name: as written in ``safety_tokens.scorer``.
        score: maps the log-probabilities of the aligned and of the contrast model, both (..., V) float32, to
            each position's score of every token, (..., V). Scores are averaged over the positions of a refusal, then
            over refusals.
        of_means: for a score that is linear in the probabilities: maps their (V,) means, so averaged, to the mean
            score. Calibration then has a third less to compute. None where only ``score`` says it.
    """

    name: str
    score: Callable[[Tensor, Tensor], Tensor]
    of_means: Callable[[Tensor, Tensor], Tensor] | None = None
