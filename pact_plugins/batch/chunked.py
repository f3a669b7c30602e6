"""Losses over the whole vocabulary at few positions, in chunks: no (N, V) tensor is kept for the backward pass."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from pact_plugins.batch.divergence import match
from pact_plugins.distributed import largest
from pact_plugins.modeling import OutputHead

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

    return _in_chunks(compute, head, hidden_states, token_ids, chunk)


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

    return _in_chunks(compute, head, hidden_states, reference_states, chunk)


def _in_chunks(
    compute: Callable[[Tensor, Tensor], Tensor], head: OutputHead, states: Tensor, others: Tensor, chunk: int
) -> Tensor:
    rounds = max(1, math.ceil(len(states) / chunk))
    if getattr(head, "is_sharded", False):
        # Every projection gathers the head from all ranks, so each rank must make as many, if need be of nothing.
        rounds = largest(rounds)
    bounds = [(number * chunk, (number + 1) * chunk) for number in range(rounds)]
    return torch.cat(
        [
            checkpoint(compute, states[begin:end], others[begin:end], use_reentrant=False, preserve_rng_state=False)
            for begin, end in bounds
        ]
    )
