"""Plain language-model training, small enough for one core."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from transformers import LlamaForCausalLM

_IGNORED = -100
_WARMUP_SHARE = 0.05
_LOWEST_RATE = 0.02
_BATCHES_PER_BUCKET = 16


@dataclass(frozen=True)
class TokenizedExample:
    """Token ids of one document; the first `unlearnt` of them are context without a loss."""

    ids: list[int]
    unlearnt: int


def train(
    model: LlamaForCausalLM,
    examples: Sequence[TokenizedExample],
    *,
    learning_rate: float,
    batch_size: int,
    seed: int,
    on_step: Callable[[int, float], None],
) -> None:
    """Train in place for one epoch: AdamW, 5 % warm-up, cosine decay to 2 %, gradients clipped to norm 1.

    Args:
        model: trained in place and left in evaluation mode.
        examples: documents; batches are padded on the right.
        learning_rate: the peak.
        batch_size: documents per step.
        seed: order of the batches.
        on_step: called after each step with the number of documents in it and its loss.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    batches = _batches([len(example.ids) for example in examples], batch_size, random.Random(seed))
    model.train()
    for step, batch in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * _schedule(step, len(batches))
        rows = [examples[index] for index in batch]
        input_ids = _pad([row.ids for row in rows], 0)  # any id: padding is masked out
        labels = _pad([[_IGNORED] * row.unlearnt + row.ids[row.unlearnt :] for row in rows], _IGNORED)
        attention_mask = _pad([[1] * len(row.ids) for row in rows], 0)
        loss = model(input_ids=input_ids, attention_mask=attention_mask, labels=labels, use_cache=False).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        on_step(len(rows), loss.item())
    model.eval()


def _schedule(step: int, steps: int) -> float:
    """Share of the peak learning rate: linear warm-up under a cosine."""
    warmup = (step + 1) / (_WARMUP_SHARE * steps + 1)
    return min(warmup, max(_LOWEST_RATE, 0.5 * (1 + math.cos(math.pi * step / steps))))


def _batches(lengths: Sequence[int], batch_size: int, rng: random.Random) -> list[list[int]]:
    """Shuffled batches of indices; documents of similar length share a batch, to save padding."""
    order = list(range(len(lengths)))
    rng.shuffle(order)
    batches = []
    bucket_size = batch_size * _BATCHES_PER_BUCKET
    for start in range(0, len(order), bucket_size):
        bucket = sorted(order[start : start + bucket_size], key=lambda index: lengths[index])
        batches += [bucket[first : first + batch_size] for first in range(0, len(bucket), batch_size)]
    rng.shuffle(batches)
    return batches


def _pad(rows: Sequence[Sequence[int]], value: int) -> torch.Tensor:
    width = max(len(row) for row in rows)
    return torch.tensor([[*row, *[value] * (width - len(row))] for row in rows])
