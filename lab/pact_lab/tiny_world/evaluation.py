"""How a model of the toy benchmark behaves on held-out prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from transformers import GenerationConfig

from pact_lab.tiny_world.corpora import plain_prompt
from pact_lab.tiny_world.requests import Families, Wording, benign_prompts, harmful_prompts
from pact_lab.tiny_world.responses import rates
from pact_lab.tiny_world.tasks import is_correct, task_examples
from pact_plugins.errors import ConfigurationError

PromptFormat = Literal["chat", "plain"]
GENERATIONS_PER_PROMPT = 4
# Long enough for every opening sentence and every task answer.
_NEW_TOKENS = 24


def evaluate(
    model: Any,
    tokenizer: Any,
    *,
    prompts: int = 150,
    seed: int,
    batch_size: int = 128,
    progress: Callable[[int], object] | None = None,
    keep_responses: bool = False,
    prompt_format: PromptFormat = "chat",
    families: Families = "aligned",
    wording: Wording = "seen",
) -> dict[str, Any]:
    """Measure refusal, help and task accuracy on held-out prompts.

    Args:
        model: a causal language model with `generate`; its mode and the random-number state are left as found.
        tokenizer: its tokenizer.
        prompts: how many harmful prompts, benign prompts and task questions.
        seed: chooses the prompts and seeds the sampling.
        batch_size: prompts generated for at once.
        progress: called with the number of newly finished generations, of `GENERATIONS_PER_PROMPT * prompts` in all;
            the `update` of a tqdm bar fits.
        keep_responses: also return prompts and responses under `responses`.
        prompt_format: `chat` through the chat template; `plain` as `User: ... Assistant: `, for the base model.
        families: families of the harmful requests.
        wording: `unseen` frames requests in words that are in no training stage.

    Returns:
        `harmful` (greedy), `harmful_sampled` (temperature 1, whole vocabulary) and `benign` (greedy), each the
        fractions of `refuse`, `comply` and `other`; `task_accuracy`, a fraction; `prompts`, the count.

    Raises:
        ConfigurationError: `prompts` or `batch_size` is not positive, or exceeds the prompts there are.
    """
    if prompts < 1 or batch_size < 1:
        raise ConfigurationError(f"prompts {prompts} and batch_size {batch_size} must be at least 1")
    harmful = harmful_prompts(prompts, seed=seed, families=families, wording=wording)
    benign = benign_prompts(prompts, seed=seed, wording=wording)
    tasks = task_examples(prompts, seed=seed)

    def respond(questions: Sequence[str], *, sample: bool = False) -> list[str]:
        return generate(
            model,
            tokenizer,
            questions,
            sampling_seed=seed if sample else None,
            batch_size=batch_size,
            progress=progress,
            prompt_format=prompt_format,
        )

    answers = {
        "harmful": respond(harmful),
        "harmful_sampled": respond(harmful, sample=True),
        "benign": respond(benign),
        "task": respond([example.prompt for example in tasks]),
    }
    correct = sum(is_correct(answer, example) for answer, example in zip(answers["task"], tasks, strict=True))
    result: dict[str, Any] = {name: rates(answers[name]) for name in ("harmful", "harmful_sampled", "benign")}
    result |= {"task_accuracy": correct / prompts, "prompts": prompts}
    if keep_responses:
        asked = {"harmful": harmful, "harmful_sampled": harmful, "benign": benign, "task": [t.prompt for t in tasks]}
        result["responses"] = {
            name: [{"prompt": p, "response": r} for p, r in zip(asked[name], answers[name], strict=True)]
            for name in answers
        }
    return result


def generate(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    *,
    sampling_seed: int | None = None,
    batch_size: int = 128,
    max_new_tokens: int = _NEW_TOKENS,
    progress: Callable[[int], object] | None = None,
    prompt_format: PromptFormat = "chat",
) -> list[str]:
    """Responses to `prompts`, special tokens stripped: greedy, or sampled at temperature 1 with its own seed."""
    config = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=sampling_seed is not None,
        # Switched off explicitly: the library's own default keeps only the 50 likeliest tokens.
        **({} if sampling_seed is None else {"temperature": 1.0, "top_k": 0, "top_p": 1.0}),
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        use_cache=True,
    )
    encoded = [_encode(tokenizer, prompt, prompt_format) for prompt in prompts]
    device = next(model.parameters()).device
    responses: list[str] = []
    with _evaluating(model, device, sampling_seed):
        for start in range(0, len(encoded), batch_size):
            batch = encoded[start : start + batch_size]
            input_ids, attention_mask = _left_pad(batch, tokenizer.pad_token_id)
            output = model.generate(
                input_ids=input_ids.to(device), attention_mask=attention_mask.to(device), generation_config=config
            )
            responses += tokenizer.batch_decode(output[:, input_ids.shape[1] :], skip_special_tokens=True)
            if progress is not None:
                progress(len(batch))
    return responses


@contextmanager
def _evaluating(model: Any, device: torch.device, sampling_seed: int | None) -> Iterator[None]:
    """Evaluation mode, no gradients, seeded sampling; every module's mode and the generators are put back after."""
    modes = [(module, module.training) for module in model.modules()]
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.no_grad():
        if sampling_seed is not None:
            torch.manual_seed(sampling_seed)
        model.eval()
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training


def _encode(tokenizer: Any, prompt: str, prompt_format: PromptFormat) -> list[int]:
    if prompt_format == "plain":
        text = plain_prompt(prompt)
    else:
        messages = [{"role": "user", "content": prompt}]
        text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def _left_pad(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and attention mask, both (rows, longest)."""
    width = max(len(row) for row in rows)
    input_ids = torch.tensor([[pad_id] * (width - len(row)) + list(row) for row in rows])
    attention_mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return input_ids, attention_mask
