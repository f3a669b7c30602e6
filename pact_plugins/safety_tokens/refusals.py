"""Where the refusals for calibration come from: the user's file, or the aligned model itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from tqdm.auto import tqdm

from pact_plugins import plugins
from pact_plugins.errors import SafetyTokensError
from pact_plugins.files import read_rows
from pact_plugins.modeling import evaluation_mode, prompt_ids, response_ids

MINIMUM_REFUSALS = 8


@dataclass(frozen=True)
class Refusal:
    """A harmful prompt and the token ids of an aligned model's refusal of it."""

    prompt: str
    response_ids: tuple[int, ...]


def read_refusals(path: str, tokenizer: Any, *, limit: int) -> list[Refusal]:
    """Refusals of a JSON or JSONL file with the keys ``prompt`` and ``response``, at most ``limit``.

    Raises:
        ConfigurationError: the file is missing or not JSON.
        SafetyTokensError: a row lacks a key, or no row has a response.
    """
    refusals = []
    for number, row in enumerate(read_rows(path, key="refusals_path"), start=1):
        if not isinstance(row, dict) or not all(isinstance(row.get(key), str) for key in ("prompt", "response")):
            raise SafetyTokensError(
                f"refusals_path: row {number} of {path} needs the text keys 'prompt' and 'response'"
            )
        if row["response"].strip():
            refusals.append(Refusal(row["prompt"], tuple(response_ids(tokenizer, row["prompt"], row["response"]))))
    if not refusals:
        raise SafetyTokensError(f"refusals_path: every response in {path} is empty")
    return refusals[:limit]


def read_prompts(path: str) -> list[str]:
    """Prompts of a JSON or JSONL file: strings, or rows with the key ``prompt``.

    Raises:
        ConfigurationError: the file is missing or not JSON.
        SafetyTokensError: a row is neither.
    """
    prompts = []
    for number, row in enumerate(read_rows(path, key="harmful_prompts_path"), start=1):
        prompt = row.get("prompt") if isinstance(row, dict) else row
        if not isinstance(prompt, str) or not prompt.strip():
            raise SafetyTokensError(f"harmful_prompts_path: row {number} of {path} is not a prompt")
        prompts.append(prompt)
    return prompts


@torch.no_grad()
def sample_refusals(
    causal_lm: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    *,
    max_new_tokens: int,
    batch_size: int,
    limit: int,
    progress: bool = True,
) -> list[Refusal]:
    """Let the aligned model answer harmful prompts greedily, and keep what the keyword judge calls a refusal.

    Raises:
        SafetyTokensError: fewer than 8 responses are refusals; the message says how many of how many.
    """
    judge = plugins.judges()["keyword"]()
    encoded = [prompt_ids(tokenizer, prompt) for prompt in prompts]
    # Batches of similar length waste the least on padding.
    order = sorted(range(len(prompts)), key=lambda index: len(encoded[index]))
    found: dict[int, Refusal] = {}
    with (
        evaluation_mode(causal_lm),
        _left_padding(tokenizer),
        tqdm(total=len(prompts), desc="sampling refusals", disable=not progress, leave=False) as bar,
    ):
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            responses = _generate(causal_lm, tokenizer, [encoded[index] for index in batch], max_new_tokens)
            texts = tokenizer.batch_decode(responses, skip_special_tokens=True)
            rows = [{"prompt": prompts[i], "response": text} for i, text in zip(batch, texts, strict=True)]
            for index, response, label in zip(batch, responses, judge.label(rows), strict=True):
                if label == "refusal":
                    found[index] = Refusal(prompts[index], tuple(response))
            bar.update(len(batch))
    if len(found) < MINIMUM_REFUSALS:
        raise SafetyTokensError(
            f"the model refused only {len(found)} of {len(prompts)} harmful prompts, too few to learn its safety "
            "tokens from. Is it an aligned chat model? Give refusals of your own (refusals_path, `--refusals`) or "
            "prompts that it refuses (harmful_prompts_path, `--prompts`)"
        )
    return [found[index] for index in sorted(found)][:limit]


@contextmanager
def _left_padding(tokenizer: Any) -> Iterator[None]:
    side = tokenizer.padding_side
    tokenizer.padding_side = "left"
    try:
        yield
    finally:
        tokenizer.padding_side = side


def _generate(causal_lm: Any, tokenizer: Any, prompts: list[list[int]], max_new_tokens: int) -> list[list[int]]:
    padding_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    width = max(map(len, prompts))
    device = causal_lm.device
    input_ids = torch.tensor([[padding_id] * (width - len(ids)) + ids for ids in prompts], device=device)
    attention_mask = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts], device=device)
    generated = causal_lm.generate(
        input_ids=input_ids,
        attention_mask=attention_mask,
        max_new_tokens=max_new_tokens,
        do_sample=False,
        temperature=None,
        top_p=None,
        top_k=None,
        use_cache=True,
        pad_token_id=padding_id,
    )
    ends = _end_ids(causal_lm, tokenizer)
    return [_until_end(row, ends) for row in generated[:, width:].tolist()]


def _end_ids(causal_lm: Any, tokenizer: Any) -> set[int]:
    configured = getattr(causal_lm.generation_config, "eos_token_id", None)
    ends = {tokenizer.eos_token_id, *(configured if isinstance(configured, list) else [configured])}
    return {end for end in ends if end is not None}


def _until_end(ids: list[int], ends: set[int]) -> list[int]:
    for index, token in enumerate(ids):
        if token in ends:
            return ids[: index + 1]
    return ids
