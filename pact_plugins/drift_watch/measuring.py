"""One evaluation of a model: the share of each kind of prompt that it would refuse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from pact_plugins.batch.openings import Openings, RefusalCriterion, Replier, opening_mass
from pact_plugins.contracts import PartContext
from pact_plugins.contracts.judge import REFUSAL
from pact_plugins.distributed import rank, summed, world_size
from pact_plugins.keyword_judge import KeywordJudge
from pact_plugins.modeling import (
    AutocastState,
    LiveHead,
    ModelParts,
    callable_by_itself,
    evaluation_mode,
    is_sharded,
    preserved_random_state,
    prompt_ids,
)
from pact_plugins.modeling.generation import continue_ids

MASS, GREEDY = "refusal_mass", "greedy_refusal"
# Enough for the judge to see how an answer goes on.
_NEW_TOKENS = 48


class RefusalMeter:
    """Asks a model the same prompts again and again, and leaves no trace in it.

    Args:
        context: of the model in training: its tokenizer, its precision, how to keep our hooks still.
        prompts: kind to user messages.
        openings: what refusals begin with.
        greedy: write answers too, and let the keyword judge count the refusals among them.
    """

    def __init__(
        self, context: PartContext, prompts: Mapping[str, Sequence[str]], openings: Openings, *, greedy: bool = False
    ) -> None:
        self._tokenizer, self._precision, self._pause = context.tokenizer, context.precision, context.pause
        self._asked = [
            _Asked(kind, prompt, prompt_ids(context.tokenizer, prompt))
            for kind, texts in prompts.items()
            for prompt in texts
        ]
        self._criterion = RefusalCriterion(openings, exact_above=0.0)
        self._judge = KeywordJudge() if greedy else None
        self.names = tuple(f"{share}_{kind}" for share in (MASS, GREEDY)[: 2 if greedy else 1] for kind in prompts)

    @torch.no_grad()
    def measure(self, model_parts: ModelParts) -> dict[str, float]:
        """The value of each of ``names``: the mean over the prompts of its kind, the same on all ranks.

        Every rank must call it. Ranks share the prompts, unless parameters are sharded, so that every rank has to run
        everything.
        """
        sharded = any(map(is_sharded, model_parts.model.parameters()))
        own = self._asked if sharded else self._asked[rank() :: world_size()]
        device = next(model_parts.decoder.parameters()).device.type
        autocast = AutocastState(device, self._precision is not None, self._precision or torch.bfloat16)
        with (
            preserved_random_state(),
            callable_by_itself(model_parts.model, model_parts.decoder),
            evaluation_mode(model_parts.model),
            self._pause(),
        ):
            replier = Replier(model_parts.decoder, LiveHead(model_parts.causal_lm), sharded, autocast)
            values = [(MASS, asked.kind, mass) for asked, mass in self._masses(replier, own)]
            if self._judge is not None:
                with autocast():
                    values += [(GREEDY, asked.kind, refused) for asked, refused in self._refusals(model_parts, own)]
        return self._means(values)

    def _masses(self, replier: Replier, own: Sequence[_Asked]) -> list[tuple[_Asked, float]]:
        contexts = [asked.context_ids for asked in own]
        masses = opening_mass(replier, contexts, self._criterion).tolist() if contexts else []
        return list(zip(own, masses, strict=True))

    def _refusals(self, model_parts: ModelParts, own: Sequence[_Asked]) -> list[tuple[_Asked, float]]:
        assert self._judge is not None
        contexts = [asked.context_ids for asked in own]
        answers = continue_ids(
            model_parts.causal_lm, self._tokenizer, contexts, max_new_tokens=_NEW_TOKENS, progress=False
        )
        texts = self._tokenizer.batch_decode(answers, skip_special_tokens=True)
        rows = [{"prompt": asked.prompt, "response": text} for asked, text in zip(own, texts, strict=True)]
        labels = self._judge.label(rows)
        return [(asked, float(label == REFUSAL)) for asked, label in zip(own, labels, strict=True)]

    def _means(self, values: Sequence[tuple[str, str, float]]) -> dict[str, float]:
        sums = dict.fromkeys(self.names, 0.0)
        counts = dict.fromkeys(self.names, 0.0)
        for share, kind, value in values:
            sums[f"{share}_{kind}"] += value
            counts[f"{share}_{kind}"] += 1
        everywhere = summed([*sums.values(), *counts.values()])
        half = len(self.names)
        return dict(
            zip(
                self.names,
                (total / count for total, count in zip(everywhere[:half], everywhere[half:], strict=True)),
                strict=True,
            )
        )


@dataclass(frozen=True)
class _Asked:
    kind: str
    prompt: str
    context_ids: list[int]
