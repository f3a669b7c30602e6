"""Asking a model the watched prompts: how surely it refuses each kind, and whether it still shows a behaviour."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from pact_plugins.batch.openings import Openings, RefusalCriterion, Replier, opening_mass
from pact_plugins.batch.teacher_forcing import TeacherForced, forced_states
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
    question_ids,
)
from pact_plugins.modeling.generation import continue_ids
from pact_plugins.prompts.own import Prompt, is_behavior

MASS, GREEDY, EXPECTED, AGREEMENT = "refusal_mass", "greedy_refusal", "expected", "agreement"
KEPT_HIGH = (f"{EXPECTED}_", f"{AGREEMENT}_")
"""With what the names begin whose fall is drift."""
# Enough for a judge, or a pattern, to see how an answer goes on.
_NEW_TOKENS = 48


class DriftMeter:
    """Asks a model the same prompts again and again, and leaves no trace in it.

    Args:
        context: of the model in training: its tokenizer, its precision, how to keep our hooks still.
        prompts: by kind. Those of a behaviour of the user's own are measured by its patterns, or where it has none by
            agreement: the share of the tokens of the aligned model's greedy replies that the model would choose too.
        openings: what refusals begin with.
        greedy: write answers to the others too, and let the keyword judge count the refusals among them.
    """

    def __init__(
        self, context: PartContext, prompts: Mapping[str, Sequence[Prompt]], openings: Openings, *, greedy: bool = False
    ) -> None:
        self._tokenizer, self._precision, self._pause = context.tokenizer, context.precision, context.pause
        refusals = (MASS, GREEDY)[: 2 if greedy else 1]
        self._asked = [
            _Asked(
                prompt,
                question_ids(context.tokenizer, prompt.messages, **prompt.template_arguments),
                refusals if not is_behavior(kind) else (AGREEMENT if prompt.expect is None else EXPECTED,),
            )
            for kind, own in prompts.items()
            for prompt in own
        ]
        self._criterion, self._judge = RefusalCriterion(openings, exact_above=0.0), KeywordJudge()
        names = [(measure, asked.prompt.kind) for asked in self._asked for measure in asked.measures]
        order = (MASS, GREEDY, EXPECTED, AGREEMENT)
        self.names = tuple(
            dict.fromkeys(f"{m}_{kind}" for m, kind in sorted(names, key=lambda one: order.index(one[0])))
        )

    @property
    def has_replies(self) -> bool:
        """Whether it needs the aligned model's own replies."""
        return any(AGREEMENT in asked.measures for asked in self._asked)

    @torch.no_grad()
    def begin(self, model_parts: ModelParts, start: dict[str, float] | None) -> dict[str, float]:
        """The values of the aligned model, whose replies are kept where agreement with them is measured.

        Args:
            start: what is known of them already.
        """
        with self._asking(model_parts) as (replier, own):
            compared = [asked for asked in own if AGREEMENT in asked.measures]
            with replier.autocast():
                replies = self._write(model_parts, compared) if compared else []
            for asked, reply in zip(compared, replies, strict=True):
                asked.reply = reply
        return start or self.measure(model_parts)

    @torch.no_grad()
    def measure(self, model_parts: ModelParts) -> dict[str, float]:
        """The value of each of ``names``: the mean over the prompts of its kind, the same on all ranks.

        Every rank must call it. Ranks share the prompts, unless parameters are sharded, so that every rank has to run
        everything.
        """
        with self._asking(model_parts) as (replier, own):
            values = self._masses(replier, [asked for asked in own if MASS in asked.measures])
            written = [asked for asked in own if {GREEDY, EXPECTED} & {*asked.measures}]
            compared = [asked for asked in own if asked.reply]
            with replier.autocast():
                values += self._answers(model_parts, written) if written else []
                values += self._agreement(replier, compared) if compared else []
        return self._means(values)

    @contextmanager
    def _asking(self, model_parts: ModelParts) -> Iterator[tuple[Replier, list[_Asked]]]:
        sharded = any(map(is_sharded, model_parts.model.parameters()))
        device = next(model_parts.decoder.parameters()).device.type
        autocast = AutocastState(device, self._precision is not None, self._precision or torch.bfloat16)
        with (
            preserved_random_state(),
            callable_by_itself(model_parts.model, model_parts.decoder),
            evaluation_mode(model_parts.model),
            self._pause(),
        ):
            replier = Replier(model_parts.decoder, LiveHead(model_parts.causal_lm), sharded, autocast)
            yield replier, self._asked if sharded else self._asked[rank() :: world_size()]

    def _masses(self, replier: Replier, asked: Sequence[_Asked]) -> list[tuple[str, float]]:
        contexts = [one.context_ids for one in asked]
        masses = opening_mass(replier, contexts, self._criterion).tolist() if contexts else []
        return [(one.name_of(MASS), mass) for one, mass in zip(asked, masses, strict=True)]

    def _answers(self, model_parts: ModelParts, asked: Sequence[_Asked]) -> list[tuple[str, float]]:
        texts = self._tokenizer.batch_decode(self._write(model_parts, asked), skip_special_tokens=True)
        labels = self._judge.label(
            [{"prompt": one.prompt.text, "response": text} for one, text in zip(asked, texts, strict=True)]
        )
        return [
            (one.name_of(EXPECTED), float(one.prompt.is_met(text)))
            if EXPECTED in one.measures
            else (one.name_of(GREEDY), float(label == REFUSAL))
            for one, text, label in zip(asked, texts, labels, strict=True)
        ]

    def _write(self, model_parts: ModelParts, asked: Sequence[_Asked]) -> list[list[int]]:
        contexts = [one.context_ids for one in asked]
        return continue_ids(
            model_parts.causal_lm, self._tokenizer, contexts, max_new_tokens=_NEW_TOKENS, progress=False
        )

    def _agreement(self, replier: Replier, asked: Sequence[_Asked]) -> list[tuple[str, float]]:
        sequences = [TeacherForced(one.context_ids, one.reply) for one in asked]
        found = []
        for index, states in forced_states(
            replier.decoder, sequences, batch_size=32, description="comparing replies", progress=False
        ):
            chosen = replier.head.logits(states, None).argmax(dim=-1).tolist()
            same = sum(one == other for one, other in zip(chosen, asked[index].reply, strict=True))
            found.append((asked[index].name_of(AGREEMENT), same / len(chosen)))
        return found

    def _means(self, values: Sequence[tuple[str, float]]) -> dict[str, float]:
        sums = dict.fromkeys(self.names, 0.0)
        counts = dict.fromkeys(self.names, 0.0)
        for name, value in values:
            sums[name] += value
            counts[name] += 1
        everywhere = summed([*sums.values(), *counts.values()])
        half = len(self.names)
        pairs = zip(everywhere[:half], everywhere[half:], strict=True)
        return {name: total / max(count, 1) for name, (total, count) in zip(self.names, pairs, strict=True)}


@dataclass
class _Asked:
    prompt: Prompt
    context_ids: list[int]
    measures: tuple[str, ...]
    reply: Sequence[int] = ()

    def name_of(self, measure: str) -> str:
        return f"{measure}_{self.prompt.kind}"
