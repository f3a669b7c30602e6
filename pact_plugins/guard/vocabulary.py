"""Losses over the whole vocabulary at few positions, in chunks: no (N, V) tensor is kept for the backward pass."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from pact_plugins.modeling import OutputHead
from pact_plugins.objective.divergence import match

CHUNK = 128
"""Positions that are projected on the vocabulary at once: 65 MB of float32 per tensor at a vocabulary of 128k."""


def token_cross_entropy(head: OutputHead, hidden_states: Tensor, token_ids: Tensor, *, chunk: int = CHUNK) -> Tensor:
    """``-log softmax(head(h))[token]``: (N,) float32, with gradient.

    Args:
        head: maps hidden states to logits.
        hidden_states: (N, hidden), the states that predict the tokens.
        token_ids: (N,) int64.
    """

    def compute(states: Tensor, targets: Tensor) -> Tensor:
        logits = head.logits(states, None)
        return torch.nn.functional.cross_entropy(logits.float(), targets.to(logits.device), reduction="none")

    return _in_chunks(compute, hidden_states, token_ids, chunk)


def reference_divergence(
    head: OutputHead,
    reference_logits: Callable[[Tensor], Tensor],
    hidden_states: Tensor,
    reference_states: Tensor,
    *,
    chunk: int = CHUNK,
) -> Tensor:
    """``KL(softmax(r) || softmax(z))`` over the whole vocabulary at temperature 1: (N,) float32, with gradient.

    Exactly zero, with zero gradient, where the two agree.

    Args:
        head: maps ``hidden_states`` to ``z``.
        reference_logits: maps ``reference_states`` to ``r``; called without gradient.
        hidden_states: (N, hidden), of the model being trained.
        reference_states: (N, hidden), of the reference at the same positions.
    """

    def compute(states: Tensor, frozen_states: Tensor) -> Tensor:
        with torch.no_grad():
            target = reference_logits(frozen_states)
        logits = head.logits(states, None)
        return match(logits, target.to(logits.device), temperature=1.0)

    return _in_chunks(compute, hidden_states, reference_states, chunk)


def _in_chunks(compute: Callable[[Tensor, Tensor], Tensor], states: Tensor, others: Tensor, chunk: int) -> Tensor:
    if not len(states):
        # Zero positions: still through the head, whose collectives every rank must take part in.
        return compute(states, others)
    return torch.cat(
        [
            checkpoint(compute, one, other, use_reentrant=False, preserve_rng_state=False)
            for one, other in zip(states.split(chunk), others.split(chunk), strict=True)
        ]
    )
