"""How the term pulls at the last hidden state beside what the task asks for there: how hard, and which way."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from pact_plugins.modeling import OutputHead


def gradient_metrics(
    states: Tensor, target_ids: Tensor, head: OutputHead, term: Callable[[Tensor], Tensor]
) -> dict[str, Tensor]:
    """``term_share``, the norm of the term's gradient over that of the cross-entropy's, and ``term_angle``, degrees
    between the two: above 90, what the task asks for is undone. (1,) float32 each.

    Both gradients are with respect to the states, and take one projection on the whole vocabulary.

    Args:
        states: (M, hidden) last hidden states at some response positions; they get no gradient.
        target_ids: (M,) int64, the response tokens there.
        head: the trained model's output embedding.
        term: maps states to the term's (M,) values, its weight included.
    """
    with torch.enable_grad():
        leaf = states.detach().requires_grad_()
        task = nn.functional.cross_entropy(head.logits(leaf, None), target_ids.to(leaf.device), reduction="sum")
        (own,) = torch.autograd.grad(task, leaf)
        (held,) = torch.autograd.grad(term(leaf).sum(), leaf)
    own, held = own.float().flatten(), held.float().flatten()
    norms = own.norm(), held.norm()
    cosine = torch.dot(own, held) / (norms[0] * norms[1]).clamp(min=torch.finfo(torch.float32).tiny)
    angle = torch.acos(cosine.clamp(-1, 1)) * (180 / math.pi)
    share = norms[1] / norms[0].clamp(min=torch.finfo(torch.float32).tiny)
    return {"term_share": share.reshape(1), "term_angle": angle.reshape(1)}
