"""The objectives' divergences, as pure functions on logits over a few tokens, testable without a model.

Every function computes in float32 whatever the dtype of its inputs, returns one value per response token, and lets
gradient reach ``train_logits`` only.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pact_plugins.batch.divergence import divergence_from, match
from pact_plugins.contracts import MixtureSettings
from pact_plugins.term.mixture import mixture_share


def log_odds(
    train_logits: Tensor,
    reference_logits: Tensor,
    opens_refusal: Tensor,
    opens_help: Tensor,
    positions: Tensor,
    *,
    temperature: float,
) -> Tensor:
    """``T^2 KL(sigmoid(d_r / T) || sigmoid(d / T))`` of the log-odds ``d`` that a reply opens as a refusal.

    ``d = logsumexp(z over openings of refusals) - logsumexp(z over openings of help)``: one number, so that all other
    directions of the hidden state stay free for the task. It means something where a reply begins: 0 elsewhere.

    Args:
        train_logits, reference_logits: (N, K) ``z`` and ``r``.
        opens_refusal, opens_help: (K,) bool.
        positions: (N,) response positions, counted from 0.

    Returns:
        (N,) float32.
    """

    def two_sided(logits: Tensor) -> Tensor:
        sides = [
            logits.float().masked_fill(~side, -torch.inf).logsumexp(dim=-1) for side in (opens_refusal, opens_help)
        ]
        return torch.stack(sides, dim=-1)

    divergence = match(two_sided(train_logits), two_sided(reference_logits), temperature=temperature)
    return divergence * (positions == 0)


def full_kl(train_logits: Tensor, reference_logits: Tensor, *, temperature: float) -> Tensor:
    """``match`` over the whole vocabulary: the usual reference-KL baseline. (N, V) logits in, (N,) float32 out."""
    return match(train_logits, reference_logits, temperature=temperature)


def published(
    train_logits: Tensor,
    reference_logits: Tensor,
    prompt_free_logits: Tensor | None,
    weights: Tensor,
    positions: Tensor,
    *,
    temperature: float,
    mixture: MixtureSettings | None,
) -> Tensor:
    """The term as the authors' implementation computes it (arXiv 2603.07445).

    ``r = (1 - c_t) r_full + c_t r_post``, ``q = normalise(softmax(r / T) * w)``,
    ``KL_t = T^2 sum_S q (log q - log softmax(z / T))``.

    Args:
        train_logits, reference_logits: (N, |S|) ``z`` and ``r_full``.
        prompt_free_logits: (N, |S|) ``r_post``: the reference given only the assistant header and the response so far.
            May be None where nothing of it is mixed in.
        weights: (|S|,) ``w``; negative entries count as 0.
        positions: (N,) response positions, counted from 0.
        mixture: None or ``boost`` 0 leaves the prompt-free reference out (``c_t = 0``).

    Returns:
        (N,) float32.

    Raises:
        ValueError: no weight is positive, or something is to be mixed in without ``prompt_free_logits``.
    """
    mixed = mixed_reference(train_logits, reference_logits, prompt_free_logits, positions, mixture=mixture)
    target = weighted_target(mixed, weights, temperature=temperature)
    return divergence_from(train_logits, target, temperature=temperature)


def published_positive(
    train_logits: Tensor,
    reference_logits: Tensor,
    prompt_free_logits: Tensor | None,
    weights: Tensor,
    positions: Tensor,
    *,
    temperature: float,
    mixture: MixtureSettings | None,
) -> Tensor:
    """``published`` with both softmaxes over the tokens of positive weight only; same arguments and errors."""
    mixed = mixed_reference(train_logits, reference_logits, prompt_free_logits, positions, mixture=mixture)
    # Indexing with a mask would wait for the device; minus infinity is as good as not being there.
    absent = weights <= 0
    target = weighted_target(mixed, weights, temperature=temperature)
    return divergence_from(train_logits.float().masked_fill(absent, -torch.inf), target, temperature=temperature)


def mixed_reference(
    train_logits: Tensor,
    reference_logits: Tensor,
    prompt_free_logits: Tensor | None,
    positions: Tensor,
    *,
    mixture: MixtureSettings | None,
) -> Tensor:
    """``(1 - c_t) r_full + c_t r_post``: (N, |S|) float32, no gradient. See ``published`` for the arguments."""
    reference = reference_logits.detach().float()
    if mixture is None or mixture.boost == 0:
        return reference
    if prompt_free_logits is None:
        raise ValueError("mixture.boost is above 0 but prompt_free_logits is None: pass them, or mixture=None")
    coefficient = mixture_share(train_logits, prompt_free_logits, positions, mixture).unsqueeze(-1)
    return (1 - coefficient) * reference + coefficient * prompt_free_logits.detach().float()


def weighted_target(logits: Tensor, weights: Tensor, *, temperature: float) -> Tensor:
    """``log normalise(softmax(logits / T) * w)``: (N, |S|) float32, -inf where ``w <= 0``.

    Computed in log space, so that a target which underflows in float32 is still normalised exactly.
    """
    # On a device the look would wait for it; whoever trains has looked before (``watch_tokens``).
    if weights.device.type == "cpu" and not bool((weights > 0).any()):
        raise ValueError("no safety token has a positive weight: this objective has no target")
    log_weights = weights.float().clamp(min=0).log()
    return torch.log_softmax(logits.float() / temperature + log_weights, dim=-1)
