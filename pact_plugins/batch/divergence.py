"""How far one distribution over some tokens is from another, per token, with the gradient in closed form.

Everything is computed in float32 whatever the dtype of the inputs, and gradient reaches ``train_logits`` only.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


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
