"""Checks before the first step, because what they guard against would go unnoticed, or unexplained, afterwards."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from pact_plugins.errors import AttachmentError, ConfigurationError
from pact_plugins.modeling import (
    ModelParts,
    OutputHead,
    checkpointed_modules,
    checkpointing_if_large,
    evaluation_mode,
    preserved_random_state,
    prompt_ids,
)
from pact_plugins.modeling.rotary import preserved_rotary_state
from pact_plugins.modeling.vocabulary import added_token_ids, encodes_chats_itself
from pact_plugins.reference.adapters import adapters_off

_TEXT = "The quick brown fox jumps over the lazy dog."
_TOLERANCES = {torch.float32: 1e-3, torch.float64: 1e-6}
_HALF_PRECISION_TOLERANCE = 4e-2
# Of states that are computed twice; GPU kernels need not add in the same order.
# PhiMoE draws an expert where two are nearly equal: rarely, so that many tokens are looked at.
_NOISE, _NOISE_ROWS, _NOISE_TOKENS = 2e-4, 16, 24
_NOISY = ("drop", "jitter", "noise")


def check_tokenizer_fits(model_parts: ModelParts, tokenizer: Any) -> None:
    """Make sure that the model has a row for every id that text can hold.

    Added tokens beyond the model are accepted while the chat template writes none of them: some published tokenizers
    carry image tokens that their text model lacks.

    Raises:
        ConfigurationError: it has not.
    """
    added = added_token_ids(tokenizer)
    used = [index for index in tokenizer.get_vocab().values() if index not in added]
    if getattr(tokenizer, "chat_template", None) or encodes_chats_itself(tokenizer):
        used += prompt_ids(tokenizer, _TEXT)
    largest, rows = max(used, default=0), model_parts.vocabulary_size
    if largest >= rows:
        raise ConfigurationError(
            f"the tokenizer has a token of id {largest}, but the model's output embedding has only {rows} rows: load "
            "the model's own tokenizer, or make the model larger (resize_token_embeddings)"
        )


def check_no_noise(model_parts: ModelParts) -> None:
    """Make sure that training computes the same states twice: noise reaches the model's and not the reference's.

    With NEFTune's at an alpha of 5 the term of a tiny model without any drift was 1.06, with GPT-2's own dropout .51:
    it would hold the model to undoing the noise. An adapter's dropout is none: it is zero where the adapter is.

    Raises:
        ConfigurationError: it does not.
    """
    if hasattr(model_parts.causal_lm.get_input_embeddings(), "neftune_noise_alpha"):
        raise ConfigurationError(
            "neftune_noise_alpha puts noise on the model's embeddings and not on the reference's, so that the term "
            "would work against the noise instead of the drift; leave the key out"
        )
    # RWKV rescales its weights in place on every change between training and evaluation.
    if hasattr(model_parts.decoder, "layers_are_rescaled"):
        return
    first, second = (_states_in_training(model_parts, seed) for seed in (0, 1))
    if not _close(first, second, _NOISE):
        settings = model_parts.causal_lm.config.get_text_config().to_dict().items()
        named = [f"{key}: {value}" for key, value in settings if value and any(part in key for part in _NOISY)]
        raise ConfigurationError(
            f"the model's own {' and '.join(named) or 'noise'} is in every pass of the training and not in the "
            "reference's, so that what is held to the reference would work against the noise instead of the drift. "
            "Set it to 0 in the model's config.json, in from_pretrained(...), or, in Axolotl, in "
            "overrides_of_model_config; an adapter's own dropout (lora_dropout) may stay"
        )


@torch.no_grad()
def _states_in_training(model_parts: ModelParts, seed: int) -> Tensor:
    """(B, L, hidden) float32 of arbitrary rows, adapters off, in training mode; nothing is left changed."""
    device = next(model_parts.decoder.parameters()).device
    input_ids = torch.arange(_NOISE_ROWS * _NOISE_TOKENS, device=device) % model_parts.vocabulary_size
    input_ids = input_ids.view(_NOISE_ROWS, _NOISE_TOKENS)
    modes = {module: module.training for module in model_parts.decoder.modules()}
    peft_model = model_parts.peft_model
    # Switching a merged adapter off would take it out of the weights, and nobody could tell any more.
    merged = any(getattr(module, "merged", False) for module in model_parts.model.modules())
    off = nullcontext() if peft_model is None or merged else adapters_off(peft_model)
    checkpointed = checkpointed_modules(model_parts.decoder)
    with preserved_random_state(), preserved_rotary_state(model_parts.decoder), off:
        torch.manual_seed(seed)
        try:
            for module in modes:
                module.training = True
            with checkpointing_if_large(checkpointed, 0, beside=0):
                mask = torch.ones_like(input_ids)
                return model_parts.decoder(input_ids=input_ids, attention_mask=mask, use_cache=False)[0].float()
        finally:
            for module, mode in modes.items():
                module.training = mode


def check_model(
    model_parts: ModelParts, head: OutputHead, tokenizer: Any, token_ids: Tensor | None, *, half_precision: bool
) -> Tensor:
    """Make sure that decoder and head reproduce the model's own logits, and return the (1, L) ids of the probe.

    An architecture may scale or cap its logits in a way that the head does not know.

    Raises:
        AttachmentError: they do not.
    """
    device = next(model_parts.decoder.parameters()).device
    input_ids = torch.tensor([tokenizer(_TEXT, add_special_tokens=False)["input_ids"]], device=device)
    kept: list[Tensor] = []
    handle = model_parts.decoder.register_forward_hook(lambda _m, _a, output: kept.append(output[0]))
    try:
        with torch.no_grad(), evaluation_mode(model_parts.model):
            output = model_parts.model(input_ids=input_ids, attention_mask=torch.ones_like(input_ids), use_cache=False)
            if not kept:
                raise AttachmentError("the model's forward pass does not go through its decoder module")
            found = _projected(head, kept[-1].flatten(0, 1), token_ids, model_parts)
    finally:
        handle.remove()
    own = getattr(output, "logits", None)
    if own is None:
        return input_ids
    own = own.flatten(0, 1).float()
    expected = own if token_ids is None else own[:, token_ids.to(own.device)]
    if not _close(found, expected, _tolerance(model_parts, half_precision)):
        raise AttachmentError(
            f"{type(model_parts.causal_lm).__name__} does something to its logits that PACT does not know "
            f"(largest difference {float((found - expected).abs().max()):.3g}); please report this architecture"
        )
    return input_ids


def _projected(head: OutputHead, states: Tensor, token_ids: Tensor | None, model_parts: ModelParts) -> Tensor:
    try:
        return head.logits(states, token_ids)
    except RuntimeError as error:
        raise AttachmentError(
            f"{type(model_parts.causal_lm).__name__} does something between its last hidden states "
            f"({states.shape[-1]} wide) and its output embedding that PACT does not know; please report this "
            f"architecture ({error})"
        ) from error


def check_adapter_is_fresh(model_parts: ModelParts, input_ids: Tensor, *, half_precision: bool) -> None:
    """Make sure that the model with its adapter off is the model that training starts from.

    Raises:
        ConfigurationError: the adapter already holds weights.
    """
    assert model_parts.peft_model is not None
    with torch.no_grad(), evaluation_mode(model_parts.model):
        inputs = {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids), "use_cache": False}
        with_adapter = model_parts.decoder(**inputs)[0].float()
        with adapters_off(model_parts.peft_model):
            without = model_parts.decoder(**inputs)[0].float()
    if not _close(with_adapter, without, _tolerance(model_parts, half_precision)):
        raise ConfigurationError(
            "reference.kind: adapter_off needs a fresh adapter, but this one already holds weights, so that the "
            "model with the adapter off is not the model that training starts from. Set reference.path to the aligned "
            "model, or reference.kind: frozen_copy to hold training to the model as it is now"
        )


def _tolerance(model_parts: ModelParts, half_precision: bool) -> float:
    dtype = next(model_parts.decoder.parameters()).dtype
    return _HALF_PRECISION_TOLERANCE if half_precision else _TOLERANCES.get(dtype, _HALF_PRECISION_TOLERANCE)


def _close(left: Tensor, right: Tensor, tolerance: float) -> bool:
    right = right.to(left.device)
    return bool((left - right).abs().max() <= tolerance * (1 + right.abs().max()))
