"""The token scorers that ship with the package. A command that only reads their names imports no torch."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING

from pact_plugins.contracts.token_scorer import TokenScorer

if TYPE_CHECKING:
    from torch import Tensor


def _probability_difference(aligned_log_probs: Tensor, base_log_probs: Tensor) -> Tensor:
    return aligned_log_probs.exp() - base_log_probs.exp()


def _preference_log_ratio(aligned_log_probs: Tensor, base_log_probs: Tensor) -> Tensor:
    return aligned_log_probs.exp() * (base_log_probs - aligned_log_probs)


BUILT_IN_SCORERS = (
    TokenScorer("p_diff", _probability_difference, of_means=operator.sub),
    TokenScorer("pref_logratio", _preference_log_ratio),
)
