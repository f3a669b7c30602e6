"""The gate of the published objective: how much of the target comes from the prompt-free reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor


def refuse_booleans(model: type[BaseModel], data: Any) -> Any:
    """``data``, unless a key of ``model`` that is a number holds a boolean.

    YAML reads ``yes`` and ``on`` as true, which would otherwise pass for 1.
    """
    for key, value in data.items() if isinstance(data, Mapping) else ():
        field = model.model_fields.get(str(key))
        if isinstance(value, bool) and field is not None and field.annotation in (int, float, float | None):
            raise ValueError(f"{key}: expected a number, found {value}; write the number itself")
    return data


class GateConfig(BaseModel):
    """Settings of the gate (arXiv 2603.07445); the defaults are the published ones."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _booleans_are_no_numbers(cls, data: Any) -> Any:
        return refuse_booleans(cls, data)

    top_p: float = Field(0.9, gt=0, le=1, description="probability mass that the counted set of tokens must reach")
    alpha: float = Field(2.0, ge=0, le=1000, description="steepness of the sigmoid")
    bias: float = Field(0.0, ge=-10, le=10, description="subtracted from the difference of the two indecisions")
    temperature: float = Field(1.0, gt=0, le=1000, description="softmax temperature of the counts")
    prefix_tokens: int = Field(8, ge=0, description="response tokens at full strength before the decay starts")
    decay_tau: float = Field(8.0, ge=0, description="decay constant in response tokens; 0 cuts hard after the prefix")
    boost: float = Field(1.0, ge=0, le=1, description="factor on the gate; 0 switches it off")


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


def gate_coefficient(train_logits: Tensor, prompt_free_logits: Tensor, positions: Tensor, gate: GateConfig) -> Tensor:
    """``c_t = sigmoid(alpha (I(z) - I(r_post) - bias)) * decay_t * boost``: (N,) float32 in [0, 1], no gradient.

    Args:
        train_logits, prompt_free_logits: (N, |S|) over the safety tokens.
        positions: (N,) response positions, counted from 0.
    """
    difference = indecision(train_logits, top_p=gate.top_p, temperature=gate.temperature) - indecision(
        prompt_free_logits, top_p=gate.top_p, temperature=gate.temperature
    )
    decay = position_decay(positions, prefix_tokens=gate.prefix_tokens, decay_tau=gate.decay_tau)
    return torch.sigmoid(gate.alpha * (difference - gate.bias)) * decay * gate.boost
