"""The digest of a model's weights in memory: that of the files which a trainer would save now."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from pact_plugins.distributed import rank
from pact_plugins.modeling.model_parts import ModelParts, is_sharded
from pact_plugins.weight_files import digest_of, entry_of

_PIECE = 1 << 26


@torch.no_grad()
def weights_digest(model_parts: ModelParts) -> str | None:
    """See ``weight_files``: of the adapter where there is one, else of the whole model. Every rank must call it.

    Costs one reading of what would be saved, and as much time as hashing it: about 1.4 GiB a second.

    Returns:
        None on every rank but the first, which alone writes.
    """
    writes = rank() == 0
    entries = []
    for name, tensor in _to_be_saved(model_parts):
        with _whole(tensor) as whole:
            if writes:
                entries.append(entry_of(name, whole.shape, _bytes_of(whole)))
    return digest_of(entries) if writes else None


def _to_be_saved(model_parts: ModelParts) -> list[tuple[str, Tensor]]:
    if model_parts.peft_model is not None:
        return _adapter(model_parts.peft_model)
    model = model_parts.causal_lm
    # Parameters themselves, as a shard's tells what it is a shard of.
    state = model.state_dict(keep_vars=True)
    if getattr(model, "_hf_peft_config_loaded", False):
        return list(model.get_adapter_state_dict(state_dict=state).items())
    state = {name: value for name, value in state.items() if name not in (model._keys_to_ignore_on_save or ())}
    if not any(map(is_sharded, state.values())):
        state = _as_in_files(model, {name: value.detach() for name, value in state.items()})
    return list(state.items())


def _adapter(peft_model: Any) -> list[tuple[str, Tensor]]:
    from peft import get_peft_model_state_dict

    state = peft_model.state_dict(keep_vars=True)
    name = "default" if "default" in peft_model.peft_config else peft_model.active_adapter
    return list(get_peft_model_state_dict(peft_model, state_dict=state, adapter_name=name).items())


def _as_in_files(model: Any, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """transformers 5 keeps some weights otherwise than their files do: the experts of a mixture as one tensor."""
    try:
        from transformers.core_model_loading import revert_weight_conversion
    except ImportError:
        return state
    return revert_weight_conversion(model, state)


@contextmanager
def _whole(tensor: Any) -> Iterator[Tensor]:
    """All of a tensor of which this rank may hold a part."""
    if hasattr(tensor, "ds_id"):
        from deepspeed import zero

        with zero.GatheredParameters([tensor]):
            yield tensor.detach()
    else:
        yield tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor.detach()


def _bytes_of(tensor: Tensor) -> Iterator[Any]:
    flat = tensor.reshape(-1)
    step = max(1, _PIECE // max(1, flat.element_size()))
    for first in range(0, flat.numel(), step):
        # Memory that numpy has seen cannot be given back, which engines do with what they gathered.
        chunk = flat[first : first + step].cpu().clone()
        yield chunk.view(torch.uint8).numpy()
