"""Finding the parts of a model: the causal language model inside its wrappers, its decoder, its output embedding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from peft import PeftMixedModel, PeftModel
from torch import nn
from transformers import PreTrainedModel

from pact_plugins.errors import AttachmentError


@dataclass(frozen=True)
class ModelParts:
    """A model taken apart.

    Attributes:
        model: what the trainer calls, wrappers for distribution and compilation removed.
        peft_model: the same, where it is a ``PeftModel``, else None.
        causal_lm: the transformers model inside.
        decoder: the part of it whose last hidden state feeds the output embedding.
    """

    model: nn.Module
    peft_model: PeftModel | None
    causal_lm: Any
    decoder: nn.Module

    @property
    def vocabulary_size(self) -> int:
        """Rows of the output embedding."""
        embedding = self.causal_lm.get_output_embeddings()
        shape = getattr(embedding.weight, "ds_shape", embedding.weight.shape)
        # PEFT's wrapper of a tied embedding calls the hidden width its output; a quantised weight has no rows to count.
        is_whole = len(shape) == 2 and embedding.weight.is_floating_point()
        return int(shape[0] if is_whole else embedding.out_features)


def is_sharded(parameter: Any) -> bool:
    """Whether only a part of ``parameter`` is on this rank (ZeRO-3, FSDP2)."""
    return hasattr(parameter, "ds_id") or hasattr(parameter, "full_tensor")


def model_parts_of(model: nn.Module) -> ModelParts:
    """Take ``model`` apart.

    Raises:
        AttachmentError: the model has no output embedding, no decoder of its own, or uses prompt learning.
    """
    while hasattr(model, "_orig_mod") or (hasattr(model, "module") and isinstance(model.module, nn.Module)):
        model = model._orig_mod if hasattr(model, "_orig_mod") else model.module  # type: ignore[assignment]
    if isinstance(model, PeftMixedModel):
        raise AttachmentError(
            "adapters of mixed kinds (PeftMixedModel) cannot be switched off as one, so that there is no reference; "
            "make the model with get_peft_model(model, config), without mixed=True"
        )
    peft_model = model if isinstance(model, PeftModel) else None
    causal_lm: Any = model
    if peft_model is not None:
        if peft_model.active_peft_config.is_prompt_learning:
            raise AttachmentError(
                f"{peft_model.active_peft_config.peft_type} adds virtual tokens, so labels and hidden states do not "
                "line up; PACT supports LoRA-like adapters and full fine-tuning"
            )
        causal_lm = peft_model.get_base_model()
    if getattr(getattr(causal_lm, "config", None), "is_encoder_decoder", False):
        raise AttachmentError(
            f"{type(causal_lm).__name__} is an encoder-decoder: its answers have no prompt in front of them, so that "
            "the states that predict them lie elsewhere; PACT supports decoder-only causal language models"
        )
    embedding = causal_lm.get_output_embeddings() if hasattr(causal_lm, "get_output_embeddings") else None
    if embedding is None:
        raise AttachmentError(
            f"{type(causal_lm).__name__} has no output embedding; PACT needs a causal language model "
            "(AutoModelForCausalLM), not a bare decoder or a classifier"
        )
    return ModelParts(model, peft_model, causal_lm, _decoder_of(causal_lm))


def _decoder_of(causal_lm: Any) -> nn.Module:
    head, found, seen = causal_lm.get_output_embeddings(), causal_lm, {id(causal_lm)}
    while found is causal_lm or _owns(found, head):
        found = next((part for part in _inner_models(found) if id(part) not in seen), None)
        if found is None:
            raise AttachmentError(
                f"{type(causal_lm).__name__} has no separate decoder whose hidden states could be read"
            )
        seen.add(id(found))
    # OPT, and the decoders of BART's kin, call it past the model around it.
    inner = getattr(found, "decoder", None)
    return inner if isinstance(inner, PreTrainedModel) else found


def _owns(model: nn.Module, head: nn.Module) -> bool:
    """Whether ``model`` returns logits rather than the states in front of them (Llama 4's language model does)."""
    return getattr(model, "lm_head", None) is head


def _inner_models(model: Any) -> Iterator[nn.Module]:
    if getattr(model, "base_model", None) is not None:
        yield model.base_model
    if hasattr(model, "get_decoder") and model.get_decoder() is not None:
        yield model.get_decoder()
    yield from (child for child in model.children() if isinstance(child, PreTrainedModel))
