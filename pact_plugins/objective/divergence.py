"""The per-token divergences, as pure functions on logits over the safety tokens.

Every function computes in float32 whatever the dtype of its inputs, returns one value per response token, and lets
gradient reach ``train_logits`` only.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pact_plugins.objective.mixture import MixtureSettings, mixture_share


class _TargetDivergence(torch.autograd.Function):
    """``T^2 * sum_S q (log q - log softmax(z / T))`` with its closed-form gradient ``T (softmax(z / T) - q)``.

    The closed form is exactly zero where the two distributions are equal; differentiating through ``log_softmax``
    leaves rounding noise there, which AdamW would turn into full-sized updates of weights that should not move.
    """

    @staticmethod
    def forward(ctx: Any, train_logits: Tensor, target_log_probs: Tensor, temperature: float) -> Tensor:
        log_probs = torch.log_softmax(train_logits / temperature, dim=-1)
        target = target_log_probs.exp()
        # A target probability of zero contributes nothing; 0 * inf would be nan.
        terms = torch.where(target > 0, target * (target_log_probs - log_probs), 0.0)
        ctx.save_for_backward(log_probs.exp_().sub_(target).mul_(temperature))
        return terms.sum(dim=-1).mul_(temperature**2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return grad_outputs[0].unsqueeze(-1) * gradient, None, None


def divergence_from(train_logits: Tensor, target_log_probs: Tensor, *, temperature: float) -> Tensor:
    """``T^2 KL(q || softmax(train_logits / T))``: (N,) float32.

    Args:
        train_logits: (N, |S|), any floating dtype.
        target_log_probs: (N, |S|) normalised log-probabilities ``log q``; treated as constant.
        temperature: ``T``.
    """
    return _TargetDivergence.apply(train_logits.float(), target_log_probs.detach().float(), temperature)


def match(train_logits: Tensor, reference_logits: Tensor, *, temperature: float) -> Tensor:
    """``T^2 KL(softmax(r / T) || softmax(z / T))`` over the safety tokens.

    The abstract's sentence of arXiv 2603.07445 as an equation: confidence on safety tokens is held to that of the
    aligned reference. Exactly zero, with zero gradient, where the two agree.

    Args:
        train_logits: (N, |S|) logits ``z`` of the model being trained.
        reference_logits: (N, |S|) logits ``r`` of the reference in the same context.

    Returns:
        (N,) float32.
    """
    target = torch.log_softmax(reference_logits.detach().float() / temperature, dim=-1)
    return divergence_from(train_logits, target, temperature=temperature)


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
