"""Batched generation of responses to one-turn prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from pact_plugins.modeling import evaluation_mode, preserved_random_state, prompt_ids


@torch.no_grad()
def generate_ids(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    *,
    max_new_tokens: int,
    batch_size: int = 32,
    sampling_seed: int | None = None,
    description: str = "generating",
    progress: bool = True,
) -> list[list[int]]:
    """Token ids of the response to each prompt, the end token included; greedy, or sampled at temperature 1.

    Batches are of similar length and padded on the left. The model's mode and the random-number state are left as
    found.

    Args:
        model: a transformers or PEFT causal language model.
        prompts: user messages; the chat template is applied.
        sampling_seed: sample from the whole vocabulary with this seed; None is greedy.
    """
    return continue_ids(
        model,
        tokenizer,
        [prompt_ids(tokenizer, prompt) for prompt in prompts],
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
        sampling_seed=sampling_seed,
        description=description,
        progress=progress,
    )


@torch.no_grad()
def continue_ids(
    model: Any,
    tokenizer: Any,
    contexts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    batch_size: int = 32,
    sampling_seed: int | None = None,
    description: str = "generating",
    progress: bool = True,
) -> list[list[int]]:
    """``generate_ids`` for contexts that are token ids already."""
    encoded = [list(context) for context in contexts]
    order = sorted(range(len(encoded)), key=lambda index: len(encoded[index]))
    responses: list[list[int]] = [[]] * len(encoded)
    with (
        evaluation_mode(model),
        without_router_logits(model),
        _seeded(sampling_seed),
        tqdm(total=len(encoded), desc=description, disable=not progress, leave=False) as bar,
    ):
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            rows = [encoded[index] for index in batch]
            for index, response in zip(
                batch, generate_batch(model, tokenizer, rows, max_new_tokens, sampling_seed is not None), strict=True
            ):
                responses[index] = response
            bar.update(len(batch))
    return responses


def generate(model: Any, tokenizer: Any, prompts: Sequence[str], **options: Any) -> list[str]:
    """``generate_ids`` as text, special tokens stripped."""
    responses = generate_ids(model, tokenizer, prompts, **options)
    return list(tokenizer.batch_decode(responses, skip_special_tokens=True))


@contextmanager
def without_router_logits(model: Any) -> Iterator[None]:
    """A mixture of experts that returns them computes its auxiliary loss of every pass, and fails beside a cache."""
    configs = {id(config): config for config in (model.config, model.config.get_text_config())}.values()
    switched = [config for config in configs if getattr(config, "output_router_logits", False)]
    for config in switched:
        config.output_router_logits = False
    try:
        yield
    finally:
        for config in switched:
            config.output_router_logits = True


@contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    with preserved_random_state():
        if seed is not None:
            torch.manual_seed(seed)
        yield


def generate_batch(
    model: Any,
    tokenizer: Any,
    prompts: list[list[int]],
    max_new_tokens: int,
    drawing: Callable[[Tensor, Tensor], Tensor] | bool = False,
) -> list[list[int]]:
    """Token ids of the response to each prompt, the end token included; it ends when all have ended.

    Args:
        drawing: from the ids so far and (rows, V) logits to logits whose largest is the next token; True to sample by
            torch's random-number state, False to be greedy.
    """
    padding_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    width = max(map(len, prompts))
    device = model.device
    sample = drawing is True
    ends = end_ids(model, tokenizer)
    generated = model.generate(
        input_ids=torch.tensor([[padding_id] * (width - len(ids)) + ids for ids in prompts], device=device),
        attention_mask=torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts], device=device),
        max_new_tokens=max_new_tokens,
        do_sample=sample,
        # The library's own default would keep only the 50 likeliest tokens; greedy decoding takes neither setting.
        temperature=1.0 if sample else None,
        top_p=1.0 if sample else None,
        top_k=0 if sample else None,
        use_cache=True,
        pad_token_id=padding_id,
        eos_token_id=sorted(ends) or None,
        logits_processor=[drawing] if callable(drawing) else None,
    )
    return [_until_end(row, ends) for row in generated[:, width:].tolist()]


def end_ids(model: Any, tokenizer: Any) -> set[int]:
    """The tokens with which a reply ends."""
    configured = getattr(model.generation_config, "eos_token_id", None)
    ends = {tokenizer.eos_token_id, *(configured if isinstance(configured, list) else [configured])}
    return {end for end in ends if end is not None}


def _until_end(ids: list[int], ends: set[int]) -> list[int]:
    for index, token in enumerate(ids):
        if token in ends:
            return ids[: index + 1]
    return ids
