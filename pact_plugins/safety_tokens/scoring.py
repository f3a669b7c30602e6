"""Which tokens carry safety: pure functions on logits and probabilities (arXiv 2603.07445)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from pact_plugins.safety_tokens.scorers import BUILT_IN_SCORERS


def mean_over_positions(values: Tensor, response_mask: Tensor) -> Tensor:
    """Mean of (B, R, V) values over the unmasked positions of each row: (B, V). Rows without a position give 0."""
    mask = response_mask.to(values.dtype).unsqueeze(-1)
    return (values * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)


def safety_direction(
    aligned_logits: Tensor,
    base_logits: Tensor,
    response_mask: Tensor,
    *,
    method: str = "p_diff",
    top_k: int = 50,
    temperature: float = 1.0,
) -> Tensor:
    """Signed weight of every token; the nonzero entries are the safety tokens.

    Args:
        aligned_logits, base_logits: (B, R, V) teacher-forced logits at the response positions of B refusals.
        response_mask: (B, R), nonzero at real positions. Rows without any are left out of the mean.
        method: ``p_diff`` (mean of ``p_a - p_b``) or ``pref_logratio`` (mean of ``p_a (log p_b - log p_a)``).
        top_k: keep the tokens with the largest mean ``p_a``; 0 keeps all.
        temperature: softmax temperature.

    Returns:
        (V,) float32, see ``direction_from_scores``.

    Raises:
        ValueError: unknown method, or no row has a response.
    """
    scorers = {scorer.name: scorer for scorer in BUILT_IN_SCORERS}
    if method not in scorers:
        raise ValueError(f"method is {method!r}; known: {', '.join(scorers)}")
    filled = response_mask.bool().any(dim=1)
    if not bool(filled.any()):
        raise ValueError("response_mask is empty: no refusal has a response token")
    mask = response_mask[filled]
    aligned = torch.log_softmax(aligned_logits[filled].float() / temperature, dim=-1)
    base = torch.log_softmax(base_logits[filled].float() / temperature, dim=-1)
    scores = mean_over_positions(scorers[method].score(aligned, base), mask).mean(dim=0)
    aligned_mean = mean_over_positions(aligned.exp(), mask).mean(dim=0)
    return direction_from_scores(scores, aligned_mean, top_k=top_k)


def direction_from_scores(
    scores: Tensor,
    aligned_probability: Tensor,
    *,
    top_k: int,
    included_ids: Iterable[int] = (),
    excluded_ids: Iterable[int] = (),
) -> Tensor:
    """Keep the ``top_k`` most probable tokens, standardise their scores, scale the vector to unit length.

    Args:
        scores: (V,) mean scores.
        aligned_probability: (V,) mean probability under the aligned model, which ranks the tokens.
        top_k: number of tokens; 0 keeps all.
        included_ids: always selected, and counted in ``top_k`` (opening tokens).
        excluded_ids: never selected (special tokens); they win over ``included_ids``.

    Returns:
        (V,) float32: ``(s - mean) / (unbiased std + 1e-6)`` over the kept nonzero scores, divided by
        (its L2 norm + 1e-6); 0 elsewhere.
    """
    ranking = aligned_probability.float().clone()
    ranking[_index(included_ids, ranking)] += 1.0  # above every probability
    ranking[_index(excluded_ids, ranking)] = float("-inf")
    available = int(torch.isfinite(ranking).sum())
    count = available if top_k == 0 else min(top_k, available)
    kept = torch.zeros_like(scores, dtype=torch.bool)
    kept[ranking.topk(count).indices] = True
    selected = kept & (scores != 0)
    direction = torch.zeros_like(scores, dtype=torch.float32)
    values = scores[selected].float()
    if values.numel() > 1:
        values = (values - values.mean()) / (values.std() + 1e-6)
    direction[selected] = values
    return direction / (direction.norm() + 1e-6)


def _index(ids: Iterable[int], like: Tensor) -> Tensor:
    return torch.as_tensor(sorted(set(ids)), dtype=torch.long, device=like.device)
