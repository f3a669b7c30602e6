"""Where the refusals for calibration come from: the user's file, or the aligned model itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pact_plugins.batch.replies import SampledReplies
from pact_plugins.contracts.judge import REFUSAL
from pact_plugins.errors import SafetyTokensError
from pact_plugins.files import read_rows
from pact_plugins.keyword_judge import KeywordJudge
from pact_plugins.modeling import prompt_ids, response_ids

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


def read_prompts(path: str, *, key: str) -> list[str]:
    """Prompts of a JSON or JSONL file: strings, or rows with the key ``prompt``.

    Raises:
        ConfigurationError: the file is missing or not JSON.
        SafetyTokensError: a row is neither.
    """
    prompts = []
    for number, row in enumerate(read_rows(path, key=key), start=1):
        prompt = row.get("prompt") if isinstance(row, dict) else row
        if not isinstance(prompt, str) or not prompt.strip():
            raise SafetyTokensError(f"{key}: row {number} of {path} is not a prompt")
        prompts.append(prompt)
    return prompts


def sample_refusals(
    causal_lm: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    *,
    replies: SampledReplies,
    max_new_tokens: int,
    max_tokens: int,
    limit: int,
    progress: bool = True,
) -> list[Refusal]:
    """Sample the aligned model's answers to harmful prompts, and keep what the keyword judge calls a refusal.

    Greedy answers repeat one wording; the tokens of all the model's refusals are wanted.

    Args:
        replies: the model's, where later readers find those sampled here.
        max_tokens: of prompts and answers in one batch.

    Raises:
        SafetyTokensError: fewer than 8 responses are refusals; the message says how many of how many.
    """
    judge = KeywordJudge()
    responses = replies.to(
        causal_lm,
        tokenizer,
        [prompt_ids(tokenizer, prompt) for prompt in prompts],
        max_new_tokens=max_new_tokens,
        max_tokens=max_tokens,
        description="sampling refusals",
        progress=progress,
    )
    texts = tokenizer.batch_decode(responses, skip_special_tokens=True)
    labels = judge.label([{"prompt": prompt, "response": text} for prompt, text in zip(prompts, texts, strict=True)])
    found = [
        Refusal(prompt, tuple(response))
        for prompt, response, label in zip(prompts, responses, labels, strict=True)
        if label == REFUSAL
    ]
    if len(found) < MINIMUM_REFUSALS:
        raise SafetyTokensError(
            f"the model refused only {len(found)} of {len(prompts)} harmful prompts, too few to learn its safety "
            "tokens from. Is it an aligned chat model? Give refusals of your own (refusals_path, `--refusals`) or "
            "prompts that it refuses (harmful_prompts_path, `--prompts`)"
        )
    return found[:limit]
