"""Rotary embeddings that depend on the longest row of a batch, or on what a model has seen before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

_STATE = ("inv_freq", "max_seq_len_cached", "attention_scaling")


def length_without_rescaling(config: Any) -> int | None:
    """Up to how many positions in a batch rotary embeddings are the same for all batches; None for any number.

    ``longrope`` has two sets of frequencies and ``dynamic`` a growing one; each batch is rotated by its longest row.
    """
    text = config.get_text_config()
    limits = []
    for rope in _settings_of(getattr(text, "rope_parameters", None) or getattr(text, "rope_scaling", None) or {}):
        kind = str(rope.get("rope_type", rope.get("type", "default")))
        if kind in ("longrope", "su"):
            longest = rope.get("original_max_position_embeddings") or getattr(
                text, "original_max_position_embeddings", text.max_position_embeddings
            )
            limits.append(int(longest))
        elif "dynamic" in kind:
            # At the length itself what an earlier, longer batch has left is still there.
            limits.append(int(text.max_position_embeddings) - 1)
    return min(limits, default=None)


def _settings_of(rope: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """One for all layers, or one for each kind of layer."""
    inner = [value for value in rope.values() if isinstance(value, Mapping)]
    return inner or [rope]


def remembers_batches(module: Any) -> bool:
    """Whether what it computes depends on the lengths of earlier batches (``dynamic``)."""
    config = getattr(module, "config", None)
    text = None if config is None else config.get_text_config()
    rope = getattr(text, "rope_parameters", None) or getattr(text, "rope_scaling", None) or {}
    return any("dynamic" in str(one.get("rope_type", one.get("type", ""))) for one in _settings_of(rope))


def longest_position(decoder_inputs: Mapping[str, Any]) -> int:
    """How many positions a decoder rotates for these inputs: padding counts unless positions are given."""
    positions = decoder_inputs.get("position_ids")
    if isinstance(positions, Tensor) and positions.numel():
        return int(positions.max()) + 1
    given = decoder_inputs.get("input_ids")
    given = decoder_inputs.get("inputs_embeds") if given is None else given
    return 0 if given is None else int(given.shape[1])


def rotary_state(module: nn.Module) -> dict[str, dict[str, Any]]:
    """What ``dynamic`` embeddings remember of earlier batches, by the name of the sub-module; empty for others."""
    found = {}
    for name, child in module.named_modules():
        if hasattr(child, "original_inv_freq") and hasattr(child, "max_seq_len_cached"):
            values = {key: getattr(child, key) for key in _STATE if hasattr(child, key)}
            found[name] = {key: value.clone() if isinstance(value, Tensor) else value for key, value in values.items()}
    return found


@torch.no_grad()
def set_rotary_state(module: nn.Module, state: Mapping[str, Mapping[str, Any]]) -> None:
    """Give ``module``, or a copy of it, what ``rotary_state`` found."""
    children = dict(module.named_modules())
    for name, values in state.items():
        for key, value in values.items():
            setattr(children[name], key, value.clone() if isinstance(value, Tensor) else value)


@contextmanager
def preserved_rotary_state(module: nn.Module) -> Iterator[None]:
    """A pass inside the block leaves no trace in the next one outside of it."""
    state = rotary_state(module) if remembers_batches(module) else {}
    try:
        yield
    finally:
        set_rotary_state(module, state)
