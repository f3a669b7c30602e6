"""The user's own model and data as a subject."""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from pact_evals.harness.evaluate import evaluate_model
from pact_lab.compare.scenario import Scenario
from pact_lab.outcomes import letters
from pact_plugins.contracts import Row
from pact_plugins.conversation.reading import UnreadableRowError, open_source, read_conversation
from pact_plugins.errors import ConfigurationError, DataError
from pact_plugins.modeling import evaluation_mode, model_fingerprint
from pact_plugins.modeling.loading import why_not_loaded

_TASKS = {
    "harmful": "pact_refusal",
    "harmful_sampled": "pact_refusal_sampled",
    "benign": "pact_overrefusal",
}
_MOST_HELD_OUT = 200


class OwnSubject:
    """A local or hub model and a data set.

    A tenth of the rows, at most 200, is held out: the task figure is the share of their response tokens that the model
    predicts. Refusal is measured on the bundled prompts by the keyword judge.

    Args:
        folder: where safety tokens and anchors are kept.
        limit: prompts of each kind, for trials; None is all 132.

    Raises:
        ConfigurationError: the model cannot be loaded, or the rows are too few.
        DataError: there are no rows, or they are not understood.
    """

    def __init__(
        self, model_path: str, data_path: str, folder: Path, *, limit: int | None = None, batch_size: int = 16
    ) -> None:
        self._model_path, self._limit, self._batch_size = model_path, limit, batch_size
        rows = read_chat_rows(data_path)
        if len(rows) < 10:
            raise ConfigurationError(f"--data: {data_path} holds {len(rows)} rows; at least 10 are needed")
        random.Random(0).shuffle(rows)
        held_out = min(_MOST_HELD_OUT, len(rows) // 10)
        self._held_out, self._rows = rows[:held_out], rows[held_out:]
        model, _ = self.load()
        digest = hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()[:16]
        self.identity: Mapping[str, Any] = {"model": model_fingerprint(model), "data": digest, "limit": limit}
        self.row_count = len(self._rows)
        self.common: Mapping[str, Any] = {
            "reference": {"cache_path": str(folder)},
            "safety_tokens": {"batch_size": batch_size},
        }

    def load(self) -> tuple[Any, Any]:
        try:
            tokenizer = AutoTokenizer.from_pretrained(self._model_path)
            model = AutoModelForCausalLM.from_pretrained(self._model_path, dtype=torch.float32)
        except (OSError, ValueError) as error:
            reason = why_not_loaded(self._model_path, error)
            raise ConfigurationError(f"--model: {self._model_path} cannot be loaded: {reason}") from None
        if torch.cuda.is_available():
            model = model.cuda()
        return model, tokenizer

    def rows(self, scenario: Scenario, seed: int) -> list[Row]:
        return list(self._rows)

    def evaluate(self, model: Any, tokenizer: Any, seed: int, scenario: Scenario | None) -> dict[str, Any]:
        with open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):
            evaluation = evaluate_model(
                model, tokenizer, list(_TASKS.values()), batch_size=self._batch_size, limit=self._limit
            )
        verdicts = {name: letters(evaluation.samples[task]) for name, task in _TASKS.items()}
        return {**verdicts, "task": [round(value, 4) for value in token_accuracy(model, tokenizer, self._held_out)]}


@torch.no_grad()
def token_accuracy(model: Any, tokenizer: Any, rows: Sequence[Row]) -> list[float]:
    """Per row, the share of response tokens that are the model's likeliest next token, in their true context."""
    values = []
    with evaluation_mode(model):
        for row in rows:
            messages = [*row["prompt"], *row["completion"]]
            context = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, tokenize=False)
            text = tokenizer.apply_chat_template(messages, tokenize=False)
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            start = len(tokenizer(context, add_special_tokens=False)["input_ids"])
            logits = model(input_ids=torch.tensor([ids], device=model.device)).logits[0]
            right = logits[start - 1 : -1].argmax(dim=-1).cpu() == torch.tensor(ids[start:])
            values.append(float(right.float().mean()) if len(right) else 0.0)
    return values


def read_chat_rows(data: str) -> list[Row]:
    """Chat, prompt/completion, alpaca or sharegpt rows of a file or data set; every assistant turn becomes a row.

    Raises:
        DataError: nothing there, or a row of none of these forms; the message names it.
    """
    rows: list[Row] = []
    for number, row in enumerate(open_source(data).rows, start=1):
        try:
            turns = read_conversation(row).turns
        except UnreadableRowError as error:
            raise DataError(f"--data: row {number} of {data}: {error}") from None
        rows += [{"prompt": list(turn.context), "completion": [turn.response]} for turn in turns]
    return rows
