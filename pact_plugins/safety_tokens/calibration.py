"""Calibration: teacher-force refusals under two contexts and score every token of the vocabulary.

One decoder is in memory at a time: what is kept of the first model are the hidden states at the response positions and
its output embedding. Sums over the vocabulary are streamed; no (samples, positions, V) tensor exists.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm.auto import tqdm

from pact_plugins.batch.teacher_forcing import Forced
from pact_plugins.contracts import TokenScorer
from pact_plugins.errors import SafetyTokensError
from pact_plugins.safety_tokens.scoring import direction_from_scores

# Response positions that are projected on the whole vocabulary at once, those of one refusal or of several.
_POSITIONS = 256


@dataclass(frozen=True)
class Calibration:
    """The (V,) results: signed direction, and the mean probabilities under both views."""

    direction: Tensor
    aligned_probability: Tensor
    contrast_probability: Tensor


@torch.no_grad()
def score_tokens(
    aligned: Forced,
    contrast: Forced,
    scorer: TokenScorer,
    *,
    top_k: int,
    included_ids: Iterable[int] = (),
    excluded_ids: Iterable[int] = (),
    device: torch.device | str = "cpu",
    progress: bool = True,
) -> Calibration:
    """Score every token: mean over responses of the mean over positions, in streaming sums of size V.

    Args:
        aligned, contrast: views of the same responses, in the same order.
        scorer, top_k, included_ids, excluded_ids: see ``safety_direction`` and ``direction_from_scores``.
        device: where the projections run.

    Raises:
        SafetyTokensError: the two views have vocabularies of different size.
    """
    positions, weights = _positions(aligned.hidden_states)
    contrast_positions = _positions(contrast.hidden_states)[0]
    sums: Tensor | float = 0.0
    chunks = range(0, len(positions), _POSITIONS)
    for start in tqdm(chunks, desc="scoring tokens", disable=not progress, leave=False):
        part = slice(start, start + _POSITIONS)
        sums += _weighted_sums(
            aligned.head.logits(positions[part].to(device), None),
            contrast.head.logits(contrast_positions[part].to(device), None),
            weights[part].to(device),
            scorer,
        )
    assert isinstance(sums, Tensor)
    aligned_mean, contrast_mean = sums[0], sums[1]
    scores = sums[2] if scorer.of_means is None else scorer.of_means(aligned_mean, contrast_mean)
    direction = direction_from_scores(
        scores.float(), aligned_mean, top_k=top_k, included_ids=included_ids, excluded_ids=excluded_ids
    )
    return Calibration(direction, aligned_mean.float(), contrast_mean.float())


def _positions(hidden_states: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """All (N, hidden) states and their (N,) weights in the mean over responses of the mean over positions."""
    filled = [states for states in hidden_states if len(states)]
    weights = [torch.full((len(states),), 1.0 / (len(states) * len(filled))) for states in filled]
    return torch.cat(filled), torch.cat(weights)


def _weighted_sums(aligned_logits: Tensor, contrast_logits: Tensor, weights: Tensor, scorer: TokenScorer) -> Tensor:
    """Weighted sums over (N, V) positions, (2 or 3, V) float64: aligned and contrast probabilities, and scores where
    the probabilities do not determine them."""
    if aligned_logits.shape != contrast_logits.shape:
        raise SafetyTokensError(
            f"base_model_path: the aligned model has {aligned_logits.size(-1)} output tokens and the base model "
            f"{contrast_logits.size(-1)}: they do not share a vocabulary"
        )
    views = (aligned_logits, contrast_logits)
    if scorer.of_means is not None:
        return torch.stack([weights @ torch.softmax(logits, dim=-1) for logits in views]).double()
    log_probs = [torch.log_softmax(logits, dim=-1) for logits in views]
    scores = weights @ scorer.score(*log_probs)
    return torch.stack([*(weights @ values.exp_() for values in log_probs), scores]).double()
