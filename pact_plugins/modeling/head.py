"""From hidden states to logits on a few tokens, without a vocabulary-wide tensor."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from pact_plugins.errors import AttachmentError
from pact_plugins.modeling.model_parts import is_sharded


class OutputHead(Protocol):
    """Maps hidden states to logits."""

    def logits(self, hidden_states: Tensor, token_ids: Tensor | None) -> Tensor:
        """(N, hidden) of any dtype -> (N, |S|) float32 on ``token_ids`` (|S|,), or (N, V) where they are None."""
        ...


def _logit_scale(text_config: Any) -> float:
    """The factor that some architectures put on their logits, read from the configuration."""
    for name in ("logit_scale", "output_multiplier", "lm_head_multiplier"):
        value = getattr(text_config, name, None)
        if value is not None:
            return float(value)
    scaling = getattr(text_config, "logits_scaling", None)
    if scaling is None:
        return 1.0
    # Granite divides by it, HyperCLOVA X multiplies.
    return float(scaling) if text_config.model_type == "hyperclovax" else 1.0 / float(scaling)


class _Finish:
    """What an architecture does to its logits after the projection: a scale, then a soft cap."""

    def __init__(self, config: Any) -> None:
        text_config = config.get_text_config()
        self.scale = _logit_scale(text_config)
        # Gemma's name, RecurrentGemma's and xLSTM's.
        names = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
        self.softcap = next((cap for name in names if (cap := getattr(text_config, name, None)) is not None), None)

    def __call__(self, logits: Tensor) -> Tensor:
        if self.scale != 1.0:
            logits = logits * self.scale
        if self.softcap is not None:
            logits = torch.tanh(logits / self.softcap) * self.softcap
        return logits


def _project(hidden_states: Tensor, rows: Tensor, bias: Tensor | None, *, float32: bool) -> Tensor:
    """Linear map outside autocast, which would round float32 operands to half precision again."""
    with torch.autocast(device_type=hidden_states.device.type, enabled=False):
        dtype = torch.float32 if float32 else rows.dtype
        bias = bias if bias is None else bias.to(dtype)
        return nn.functional.linear(hidden_states.to(dtype), rows.to(dtype), bias).float()


def _rows(weight: Tensor, token_ids: Tensor) -> Tensor:
    """(|S|, hidden) rows of the output embedding, whose gradient joins the trainer's own as rows.

    Indexing would make it a tensor of the whole embedding's size, nearly all of it zeros. A shard's gradient is spread
    over the ranks, which rows cannot be.
    """
    if weight.requires_grad and weight.is_leaf:
        return nn.functional.embedding(token_ids, weight, sparse=True)
    return weight[token_ids]


def _plain_linear(module: nn.Module) -> nn.Module | None:
    """The module that holds weight and bias as plain tensors, or None where only calling the module is right."""
    if hasattr(module, "modules_to_save") and hasattr(module, "original_module"):
        disabled = module.disable_adapters
        active: Any = module.active_adapters if hasattr(module, "active_adapters") else [module.active_adapter]
        module = module.original_module if disabled or not active else module.modules_to_save[active[0]]  # type: ignore
    weight = getattr(module, "weight", None)
    if hasattr(module, "base_layer") or weight is None or not weight.is_floating_point():
        return None
    if hasattr(weight, "ds_id") and weight.requires_grad:
        # ZeRO-3 shards it and gathers its gradient only through the module's own forward pass.
        return None
    return module


def _gathered(tensor: Tensor | None) -> Tensor | None:
    """The whole of a parameter that FSDP2 may have sharded; its gradient is averaged as FSDP2 averages others."""
    if tensor is None or not hasattr(tensor, "full_tensor"):
        return tensor
    from torch.distributed.tensor import Partial

    if tensor.requires_grad:
        placements = [Partial("avg") for _ in range(tensor.device_mesh.ndim)]  # type: ignore[attr-defined]
        return tensor.full_tensor(grad_placements=placements)
    return tensor.full_tensor()


def _whole_if_partitioned(weight: Tensor) -> Any:
    """A context in which a ZeRO-3 parameter is whole; nothing for any other."""
    if not hasattr(weight, "ds_id"):
        return nullcontext()
    import deepspeed

    return deepspeed.zero.GatheredParameters([weight])


class LiveHead:
    """The output embedding of a model in training, read at every call: its rows may move, or be sharded."""

    def __init__(self, causal_lm: Any) -> None:
        self._causal_lm = causal_lm
        self._finish = _Finish(causal_lm.config)

    @property
    def is_sharded(self) -> bool:
        """Whether a projection gathers parameters from all ranks, so that every rank must make it."""
        parameters = self._causal_lm.get_output_embeddings().parameters()
        return any(map(is_sharded, parameters))

    def logits(self, hidden_states: Tensor, token_ids: Tensor | None) -> Tensor:
        module = self._causal_lm.get_output_embeddings()
        linear: Any = _plain_linear(module)
        if linear is None:
            logits = module(hidden_states).float()
            return self._finish(logits if token_ids is None else logits[..., token_ids])
        with _whole_if_partitioned(linear.weight):
            weight, bias = _gathered(linear.weight), _gathered(getattr(linear, "bias", None))
            assert weight is not None
            hidden_states = hidden_states.to(weight.device)
            if token_ids is None:
                return self._finish(_project(hidden_states, weight, bias, float32=False))
            token_ids = token_ids.to(weight.device)
            bias = bias if bias is None else bias[token_ids]
            # Without a response token the trainer may have no gradient for the head either: rows would be all of it.
            rows = _rows(weight, token_ids) if hidden_states.shape[0] else weight[token_ids]
            return self._finish(_project(hidden_states, rows, bias, float32=True))

    def frozen(self, tied_copy: Tensor | None = None) -> FrozenHead:
        """A copy of the output embedding as it is now.

        Args:
            tied_copy: (V, hidden) a copy of the input embedding, used instead of another copy where the two are tied.

        Raises:
            AttachmentError: the output embedding is quantised or carries an adapter, so that it has no rows to copy.
        """
        linear: Any = _plain_linear(self._causal_lm.get_output_embeddings())
        if linear is None:
            raise AttachmentError(
                "the output embedding carries an adapter, is quantised, or is partitioned and trained; "
                "set reference.path to the aligned model"
            )
        inputs = self._causal_lm.get_input_embeddings()
        is_tied = inputs is not None and getattr(inputs, "weight", None) is linear.weight
        with _whole_if_partitioned(linear.weight), torch.no_grad():
            weight, bias = _gathered(linear.weight), _gathered(getattr(linear, "bias", None))
            assert weight is not None
            rows = tied_copy if is_tied and tied_copy is not None else weight.detach().clone()
            return FrozenHead(rows, None if bias is None else bias.detach().clone(), self._finish)


class FrozenHead:
    """A copied output embedding."""

    def __init__(self, rows: Tensor, bias: Tensor | None, finish: _Finish) -> None:
        self._rows, self._bias, self._finish = rows, bias, finish

    def logits(self, hidden_states: Tensor, token_ids: Tensor | None) -> Tensor:
        rows, bias = self._rows, self._bias
        if token_ids is not None:
            token_ids = token_ids.to(rows.device)
            rows, bias = rows[token_ids], None if bias is None else bias[token_ids]
        # The whole vocabulary stays in its own dtype: a float32 copy of it would be the largest tensor of the run.
        return self._finish(_project(hidden_states.to(rows.device), rows, bias, float32=token_ids is not None))
