"""Every objective once more: float64, one token at a time, plain loops and ``log_softmax``."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pact_plugins.contracts import MixtureSettings


@dataclass(frozen=True)
class TokenInputs:
    """One response token: (|S|,) float64 logits, its place, and what the user set.

    Attributes:
        z, full, prompt_free: of the trained model, of the reference, and of the reference without the prompt.
        weights: (|S|,), negative entries count as nothing.
        target: the token to be learnt, among the logits of the whole vocabulary.
    """

    z: Tensor
    full: Tensor
    prompt_free: Tensor
    weights: Tensor
    position: int
    target: int
    temperature: float
    gate: MixtureSettings


def indecision(logits: Tensor, gate: MixtureSettings) -> tuple[float, bool]:
    """Share of tokens that is needed to collect ``top_p``; and whether rounding could move the count."""
    probabilities = sorted(torch.softmax(logits.detach() / gate.temperature, -1).tolist(), reverse=True)
    mass, count, edge = 0.0, 0, False
    for probability in probabilities:
        mass, count = mass + probability, count + 1
        edge = edge or abs(mass - gate.top_p) < 1e-4
        if mass >= gate.top_p:
            break
    return count / len(probabilities), edge


def coefficient(token: TokenInputs) -> tuple[float, bool]:
    """``c_t`` of the published gate."""
    gate = token.gate
    if gate.boost == 0:
        return 0.0, False
    (own, own_edge), (other, other_edge) = indecision(token.z, gate), indecision(token.prompt_free, gate)
    beyond = token.position - gate.prefix_tokens
    later = math.exp(-max(beyond, 0) / gate.decay_tau) if gate.decay_tau else 0.0
    decay = 1.0 if beyond < 0 else later
    value = 1 / (1 + math.exp(-max(min(gate.alpha * (own - other - gate.bias), 700), -700))) * decay * gate.boost
    return value, own_edge or other_edge


def divergence(z: Tensor, target: Tensor, temperature: float) -> Tensor:
    """``T^2 KL(target || softmax(z / T))``."""
    logs = torch.log_softmax(z / temperature, -1)
    some = target > 0
    return temperature**2 * (target[some] * (target[some].log() - logs[some])).sum()


def match(token: TokenInputs) -> Tensor:
    return divergence(token.z, torch.softmax(token.full / token.temperature, -1), token.temperature)


def _weighted(token: TokenInputs, keep: Tensor) -> Tensor:
    share, _ = coefficient(token)
    mixed = (1 - share) * token.full + share * token.prompt_free
    kept = token.weights[keep].clamp(min=0)
    # In log space: a target may underflow.
    target = torch.softmax(mixed[keep] / token.temperature + kept.log(), -1)
    return divergence(token.z[keep], target, token.temperature)


def published(token: TokenInputs) -> Tensor:
    return _weighted(token, torch.ones_like(token.weights, dtype=torch.bool))


def published_positive(token: TokenInputs) -> Tensor:
    return _weighted(token, token.weights > 0)


def asft(token: TokenInputs) -> Tensor:
    cross_entropy = -torch.log_softmax(token.z, -1)[token.target]
    anchor = divergence(token.z, torch.softmax(token.full, -1), 1.0)
    return (math.exp(-float(cross_entropy.detach())) - 1) * cross_entropy + 0.05 * anchor


def constrained_sft(token: TokenInputs) -> Tensor:
    log = torch.log_softmax(token.z, -1)[token.target]
    reference = float(torch.log_softmax(token.full, -1)[token.target])
    beta = 0.5 if token.position == 0 else 2.0 if token.position < 5 else 0.1
    return -2 / beta * torch.nn.functional.logsigmoid(beta * (log - reference)) + log


def logit_matching(token: TokenInputs) -> Tensor:
    return ((token.z - token.full) ** 2).sum() / len(token.z)


REFERENCE: dict[str, Callable[[TokenInputs], Tensor]] = {
    "match": match,
    "full_kl": match,
    "published": published,
    "published_positive": published_positive,
    "asft": asft,
    "constrained_sft": constrained_sft,
    "logit_matching": logit_matching,
}
