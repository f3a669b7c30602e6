"""The mixture of the published objective: how much of the target comes from the prompt-free reference."""

from __future__ import annotations

import torch
from torch import Tensor

from pact_plugins.contracts import MixtureSettings


def indecision(logits: Tensor, *, top_p: float, temperature: float) -> Tensor:
    """Share of the safety tokens that is needed to collect ``top_p`` of their probability.

    ``I(u) = |smallest set of S whose softmax(u / temperature) mass >= top_p| / |S|``

    Args:
        logits: (N, |S|), any floating dtype; computed in float32.

    Returns:
        (N,) float32 in (0, 1]. A count, so it carries no gradient.
    """
    probabilities = torch.softmax(logits.detach().float() / temperature, dim=-1)
    cumulative = probabilities.sort(dim=-1, descending=True).values.cumsum(dim=-1)
    size = logits.size(-1)
    count = (cumulative < top_p).sum(dim=-1).add(1).clamp(max=size)
    return count.float() / size


def position_decay(positions: Tensor, *, prefix_tokens: int, decay_tau: float) -> Tensor:
    """1 for the first ``prefix_tokens`` response tokens, then ``exp(-(t - prefix_tokens) / decay_tau)``.

    Args:
        positions: (N,) integer; 0 is the first token of its response.

    Returns:
        (N,) float32. With ``decay_tau`` 0 every later position gets 0.
    """
    beyond = (positions - prefix_tokens).float()
    later = torch.zeros_like(beyond) if decay_tau == 0 else torch.exp(-beyond.clamp(min=0) / decay_tau)
    return torch.where(beyond < 0, torch.ones_like(beyond), later)


def mixture_share(
    train_logits: Tensor, prompt_free_logits: Tensor, positions: Tensor, mixture: MixtureSettings
) -> Tensor:
    """``c_t = sigmoid(alpha (I(z) - I(r_post) - bias)) * decay_t * boost``: (N,) float32 in [0, 1], no gradient.

    Args:
        train_logits, prompt_free_logits: (N, |S|) over the safety tokens.
        positions: (N,) response positions, counted from 0.
    """
    difference = indecision(train_logits, top_p=mixture.top_p, temperature=mixture.temperature) - indecision(
        prompt_free_logits, top_p=mixture.top_p, temperature=mixture.temperature
    )
    decay = position_decay(positions, prefix_tokens=mixture.prefix_tokens, decay_tau=mixture.decay_tau)
    return torch.sigmoid(mixture.alpha * (difference - mixture.bias)) * decay * mixture.boost
