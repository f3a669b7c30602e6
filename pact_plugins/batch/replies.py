"""What a model replies to contexts: sampled once for all who read it, and no further than they read."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from pact_plugins.batch.sequences import group_by_length
from pact_plugins.distributed import from_first_rank
from pact_plugins.modeling import evaluation_mode
from pact_plugins.modeling.generation import end_ids, generate_batch, without_router_logits

SAMPLING = "each reply by itself, at temperature 1 from the whole vocabulary, seed 0"
"""How they are sampled, for the names of files that depend on it."""


@dataclass(frozen=True)
class _Asked:
    """A context; of equal ones in a call, each asks for a reply of its own."""

    context: tuple[int, ...]
    occurrence: int

    def chances(self, count: int) -> list[float]:
        """The uniform random numbers that draw its tokens; those of a longer reply begin with the same ones."""
        digest = hashlib.sha256(f"{SAMPLING}{self.occurrence}{self.context}".encode()).digest()
        generator = random.Random(digest)
        return [generator.random() for _ in range(count)]


class SampledReplies:
    """The replies of one model, remembered.

    A reply's tokens depend on model and context, neither on what else is asked nor on the batch, but for rounding.
    Whoever wants more tokens of a reply than are known has it continued. On several ranks all hold the first one's.
    """

    def __init__(self) -> None:
        self._known: dict[_Asked, list[int]] = {}

    def to(
        self,
        model: Any,
        tokenizer: Any,
        contexts: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        max_tokens: int,
        description: str,
        progress: bool = True,
    ) -> list[list[int]]:
        """At most ``max_new_tokens`` token ids of the reply to each context, the end token included.

        The model's mode and the random-number state are left as found. Every rank must call it.

        Args:
            model: a transformers causal language model; the same in every call.
            contexts: token ids.
            max_tokens: of contexts and replies in one batch.
        """
        asked = _numbered(contexts)
        ends = end_ids(model, tokenizer)
        known = {one: self._known.get(one, []) for one in asked}
        waiting = [one for one, reply in known.items() if len(reply) < max_new_tokens and not ends & set(reply[-1:])]
        # What is equally far is continued together.
        by_length: dict[int, list[_Asked]] = {}
        for one in waiting:
            by_length.setdefault(len(known[one]), []).append(one)
        with (
            evaluation_mode(model),
            without_router_logits(model),
            tqdm(total=len(waiting), desc=description, disable=not progress, leave=False) as bar,
        ):
            for begun, together in by_length.items():
                lengths = [len(one.context) + max_new_tokens for one in together]
                for group in group_by_length(lengths, max_tokens=max_tokens):
                    rows = [together[index] for index in group]
                    drawing = _Drawing([one.chances(max_new_tokens)[begun:] for one in rows])
                    prompts = [[*one.context, *known[one]] for one in rows]
                    found = generate_batch(model, tokenizer, prompts, max_new_tokens - begun, drawing)
                    self._known.update({one: [*known[one], *more] for one, more in zip(rows, found, strict=True)})
                    bar.update(len(rows))
        if waiting:
            self._take_from_first_rank(waiting)
        return [self._known[one][:max_new_tokens] for one in asked]

    def _take_from_first_rank(self, some: Sequence[_Asked]) -> None:
        """Rounding may differ between devices."""
        lengths = from_first_rank(torch.tensor([len(self._known[one]) for one in some]))
        flat = from_first_rank(torch.tensor([index for one in some for index in self._known[one]]))
        self._known.update(zip(some, (row.tolist() for row in flat.split(lengths.tolist())), strict=True))


def _numbered(contexts: Sequence[Sequence[int]]) -> list[_Asked]:
    seen: Counter[tuple[int, ...]] = Counter()
    asked = []
    for context in map(tuple, contexts):
        asked.append(_Asked(context, seen[context]))
        seen[context] += 1
    return asked


class _Drawing:
    """Draws each row's next token by its own random numbers; greedy decoding then takes what was drawn."""

    def __init__(self, chances: Sequence[Sequence[float]]) -> None:
        # Just below 1 is 1 in this precision, and leads nowhere.
        self._chances, self._step = torch.tensor(chances, dtype=torch.float32).clamp(max=1 - 1e-6), 0

    def __call__(self, _: Tensor, scores: Tensor) -> Tensor:
        reached = torch.softmax(scores.float(), dim=-1).cumsum(dim=-1)
        wanted = self._chances[:, self._step, None].to(scores.device) * reached[:, -1:]
        drawn = torch.searchsorted(reached, wanted, right=True).clamp(max=scores.size(-1) - 1)
        self._step += 1
        return torch.full_like(scores, -torch.inf).scatter(1, drawn, 0.0)
