"""Whether switching the adapter off really gives the aligned model back: what trains and is still there afterwards.

An adapter's own weights are gone when it is off, and so are copies of whole modules (``modules_to_save``). Biases that
an adapter trains in the base model, and base parameters that somebody made trainable beside it (norms, embeddings, the
output embedding), are not: a model held to "itself with the adapter off" would be held to something that moves.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pact_plugins.modeling import (
    LiveHead,
    ModelParts,
    evaluation_mode,
    is_sharded,
    preserved_random_state,
    switched_off,
)
from pact_plugins.reference.adapters import adapters_off

_PROBE_TOKENS = 12
_NUDGE = 0.05


def left_when_off(model_parts: ModelParts) -> list[str]:
    """Names of the parameters that train and still act when the adapter is off.

    Empty for a model without an adapter. Parameters outside everything that PEFT switches are suspects. Where they can
    be touched, they are nudged, and those that leave the model without its adapter as it was are acquitted.
    """
    if model_parts.peft_model is None:
        return []
    switched = {id(parameter) for parameter in switched_off(model_parts.peft_model)}
    suspects = {
        name: parameter
        for name, parameter in model_parts.model.named_parameters()
        if parameter.requires_grad and id(parameter) not in switched
    }
    if not suspects or any(is_sharded(parameter) for parameter in suspects.values()):
        return list(suspects)
    before = _states_without_adapter(model_parts)
    return [name for name, parameter in suspects.items() if _moves(model_parts, parameter, before)]


def named(parameters: list[str]) -> str:
    """A few of the names, and how many more there are."""
    shown = ", ".join(parameters[:3])
    return shown if len(parameters) <= 3 else f"{shown} and {len(parameters) - 3} more"


def _moves(model_parts: ModelParts, parameter: nn.Parameter, before: Tensor) -> bool:
    with _nudged(parameter):
        return not torch.equal(_states_without_adapter(model_parts), before)


@contextmanager
def _nudged(parameter: nn.Parameter) -> Iterator[None]:
    kept = parameter.data.clone()
    try:
        parameter.data.add_(_NUDGE * (1 + kept.abs()))
        yield
    finally:
        parameter.data.copy_(kept)


@torch.no_grad()
def _states_without_adapter(model_parts: ModelParts) -> Tensor:
    """Logits of a few arbitrary tokens, adapters off: (tokens, V) float32."""
    assert model_parts.peft_model is not None
    device = next(model_parts.decoder.parameters()).device
    input_ids = torch.arange(_PROBE_TOKENS, device=device)[None] % model_parts.vocabulary_size
    with preserved_random_state(), evaluation_mode(model_parts.model), adapters_off(model_parts.peft_model):
        hidden = model_parts.decoder(input_ids=input_ids, attention_mask=torch.ones_like(input_ids), use_cache=False)[0]
        return LiveHead(model_parts.causal_lm).logits(hidden[0], None)
