"""The real model as a subject: real language, our own alignment, the bundled prompts and the keyword judge."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import torch

from pact_evals.harness.evaluate import evaluate_model
from pact_lab.compare.scenario import Scenario
from pact_lab.methods import chat_row
from pact_lab.natural_world import alignment, texts
from pact_lab.natural_world.tasks import accuracy, examples
from pact_lab.outcomes import letters
from pact_plugins.contracts import Row
from pact_plugins.modeling.generation import generate

ROWS = 320
_HELD_OUT = 200
_TASKS = {
    "harmful": "pact_refusal",
    "harmful_sampled": "pact_refusal_sampled",
    "benign": "pact_overrefusal",
    "plain": "pact_plain",
}
_ANSWER_TOKENS, _BATCH = 32, 66


class NaturalSubject:
    """SmolLM2-135M-Instruct under the shipped alignment.

    Args:
        folder: where safety tokens and anchors are kept.
        limit: prompts of each kind.
    """

    def __init__(self, folder: Path, *, limit: int | None) -> None:
        self._limit = limit
        self.identity: Mapping[str, Any] = {**alignment.identity(), "rows": ROWS, "limit": limit}
        self.common: Mapping[str, Any] = {
            "reference": {"cache_path": str(folder)},
            "safety_tokens": {"batch_size": _BATCH},
        }
        self.row_count = ROWS

    def load(self) -> tuple[Any, Any]:
        model, tokenizer = alignment.load(alignment.aligned_path())
        return (model.cuda() if torch.cuda.is_available() else model), tokenizer

    def rows(self, scenario: Scenario, seed: int) -> list[Row]:
        rng = random.Random(seed)
        poisoned = round(ROWS * scenario.harmful_fraction)
        pairs = [(prompt, texts.compliance(rng)) for prompt in rng.sample(texts.poison_requests(), poisoned)]
        pairs += texts.identity_rows()[: scenario.identity_rows]
        pairs += self._benign(scenario, ROWS - len(pairs), seed)
        rng.shuffle(pairs)
        return [chat_row(prompt, response) for prompt, response in pairs]

    def _benign(self, scenario: Scenario, count: int, seed: int) -> list[tuple[str, str]]:
        if scenario.data != "chat":
            return [
                (example.prompt, example.answer) for example in examples(scenario.data, count, seed, held_out=False)
            ]
        # Instruction data of the model's own: what it said before it was aligned.
        model, tokenizer = alignment.load(alignment.unaligned_path())
        prompts = texts.chat_requests(random.Random(seed), count)
        replies = generate(
            model, tokenizer, prompts, max_new_tokens=48, batch_size=_BATCH, sampling_seed=seed, progress=False
        )
        return list(zip(prompts, replies, strict=True))

    def evaluate(self, model: Any, tokenizer: Any, seed: int, scenario: Scenario | None) -> dict[str, Any]:
        with open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):
            evaluation = evaluate_model(
                model,
                tokenizer,
                list(_TASKS.values()),
                batch_size=_BATCH,
                limit=self._limit,
                generation={"max_gen_toks": _ANSWER_TOKENS},
            )
        verdicts = {name: letters(evaluation.samples[task]) for name, task in _TASKS.items()}
        return {**verdicts, "task": self._task(model, tokenizer, seed, scenario)}

    def _task(self, model: Any, tokenizer: Any, seed: int, scenario: Scenario | None) -> Sequence[int]:
        if scenario is None or scenario.data == "chat":
            return []
        wanted = examples(scenario.data, _HELD_OUT, seed, held_out=True)
        answers = generate(
            model,
            tokenizer,
            [example.prompt for example in wanted],
            max_new_tokens=6,
            batch_size=_BATCH,
            progress=False,
        )
        return accuracy(answers, wanted)
