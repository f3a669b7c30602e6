"""A batch, and what gate and anchor should make of it: one sequence at a time, full logits, plain autograd."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pact_plugins.contracts import PartContext
from tests.helpers.tiny import tiny_safety_tokens

IGNORED = -100
REFUSAL_OPENING_TOKENS = list(range(20, 200))


def tokens_with_openings() -> Any:
    """Hand-made safety tokens; half of the vocabulary opens a refusal, so that a random model's scores vary."""
    tokens = tiny_safety_tokens()
    return replace(
        tokens,
        settings={
            **tokens.settings,
            "refusal_opening_tokens": REFUSAL_OPENING_TOKENS,
            "compliance_opening_tokens": [5],
        },
    )


def tokens_with_long_openings() -> Any:
    """The tiny model refuses some of the tests' rows by these, and must look two tokens far to know."""
    found = tiny_safety_tokens()
    gate = {"refusal_opening_tokens": [21, 27], "refusal_openings": [[21], [27, 64]], "refusal_threshold": 0.004}
    return replace(found, settings={**found.settings, **gate})


def part_context(settings: Any, tokenizer: Any, **given: Any) -> PartContext:
    """What a part is built from, as far as its test needs it."""
    nothing = dict.fromkeys(PartContext.__dataclass_fields__)
    return PartContext(**{**nothing, "settings": settings, "tokenizer": tokenizer, "batch_size": 16, **given})


@dataclass(frozen=True)
class Batch:
    """Rows of random ids, padded on the right, each with one response."""

    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor

    @classmethod
    def random(cls, rows: int = 6, seed: int = 0) -> Batch:
        """Rows of 8 to 20 tokens whose last 3 to 7 are the response."""
        generator = torch.Generator().manual_seed(seed)
        input_ids, mask = torch.zeros(rows, 20, dtype=torch.long), torch.zeros(rows, 20, dtype=torch.long)
        labels = torch.full((rows, 20), IGNORED)
        for row in range(rows):
            length, response = (int(torch.randint(*span, (1,), generator=generator)) for span in ((8, 21), (3, 8)))
            input_ids[row, :length] = torch.randint(5, 360, (length,), generator=generator)
            mask[row, :length] = 1
            labels[row, length - response : length] = input_ids[row, length - response : length]
        return cls(input_ids, mask, labels)

    @property
    def inputs(self) -> dict[str, Tensor]:
        """What the model is called with."""
        return {"input_ids": self.input_ids, "attention_mask": self.attention_mask, "labels": self.labels}

    @property
    def response_tokens(self) -> int:
        """Number of labels."""
        return int((self.labels != IGNORED).sum())

    def sequences(self) -> list[tuple[Tensor, int]]:
        """(ids, first response column) of each row, padding cut off."""
        return [
            (ids[mask.bool()], int((labels != IGNORED).nonzero()[0]))
            for ids, mask, labels in zip(self.input_ids, self.attention_mask, self.labels, strict=True)
        ]


@torch.no_grad()
def refusal_masses(reference: Any, batch: Batch) -> Tensor:
    """(rows,) probability of a refusal opening token at the first response position."""
    return torch.stack(
        [
            reference(input_ids=ids[None, :first]).logits[0, -1].softmax(-1)[REFUSAL_OPENING_TOKENS].sum()
            for ids, first in batch.sequences()
        ]
    )


def weighted_cross_entropy(model: Any, batch: Batch, weights: Tensor) -> Tensor:
    """``sum_t w_t CE_t``."""
    total = torch.zeros(())
    for (ids, first), weight in zip(batch.sequences(), weights, strict=True):
        log_probs = model(input_ids=ids[None]).logits[0].log_softmax(-1)
        total = total - weight * log_probs[range(first - 1, len(ids) - 1), ids[first:]].sum()
    return total


def anchor_divergence(model: Any, reference: Any, anchors: Any) -> Tensor:
    """Mean over all reply positions of the KL over the whole vocabulary."""
    divergences = []
    for sequence in anchors.sequences:
        ids = torch.tensor([[*sequence.context_ids, *sequence.response_ids]])
        places = slice(len(sequence.context_ids) - 1, ids.size(1) - 1)
        with torch.no_grad():
            target = reference(input_ids=ids).logits[0, places].log_softmax(-1)
        found = model(input_ids=ids).logits[0, places].log_softmax(-1)
        divergences.append((target.exp() * (target - found)).sum(-1))
    return torch.cat(divergences).mean()


def gradients_of(loss: Tensor, model: Any) -> dict[str, Tensor]:
    """By name, zeros where a parameter got none."""
    model.zero_grad()
    loss.backward()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    return {name: torch.zeros_like(p) if p.grad is None else p.grad.clone() for name, p in trained.items()}
