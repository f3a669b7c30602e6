"""The user's own model and data as a subject."""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Sequence
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from pact_evals.harness.evaluate import evaluate_model
from pact_plugins.errors import ConfigurationError
from pact_plugins.files import read_rows
from pact_plugins.methods import Row, chat_row
from pact_plugins.modeling import evaluation_mode, model_fingerprint
from pact_trl.compare.outcomes import letters
from pact_trl.compare.scenario import Scenario

_TASKS = {
    "harmful": "pact_refusal",
    "harmful_sampled": "pact_refusal_sampled",
    "benign": "pact_overrefusal",
}
_MOST_HELD_OUT = 200


class OwnSubject:
    """A local or hub model and a file of rows.

    A tenth of the rows, at most 200, is held out: the task figure is the share of their response tokens that the model
    predicts. Refusal is measured on the bundled prompts by the keyword judge.

    Args:
        folder: where safety tokens and anchors are kept.
        limit: prompts of each kind, for trials; None is all 132.

    Raises:
        ConfigurationError: the model cannot be loaded, or the rows are not understood or too few.
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
        self.identity = {"model": model_fingerprint(model), "data": digest, "limit": limit}
        self.common = {"cache_path": str(folder), "calibration_batch_size": batch_size}

    def load(self) -> tuple[Any, Any]:
        try:
            tokenizer = AutoTokenizer.from_pretrained(self._model_path)
            model = AutoModelForCausalLM.from_pretrained(self._model_path, dtype=torch.float32)
        except (OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ConfigurationError(f"--model: {self._model_path} cannot be loaded: {reason}") from None
        if torch.cuda.is_available():
            model = model.cuda()
        return model, tokenizer

    def rows(self, scenario: Scenario, seed: int) -> list[Row]:
        return list(self._rows)

    def evaluate(self, model: Any, tokenizer: Any, seed: int) -> dict[str, Any]:
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


def read_chat_rows(path: str) -> list[Row]:
    """Rows of a JSON or JSONL file as conversational prompt/completion rows.

    Understood: ``messages`` that end with an assistant's turn; ``prompt`` and ``completion`` (or ``response``), texts or
    lists of messages; ``instruction``, ``input`` and ``output``.

    Raises:
        ConfigurationError: no such file, or a row of another form; the message names it.
    """
    rows = []
    for number, row in enumerate(read_rows(path, key="--data"), start=1):
        found = _chat_row(row) if isinstance(row, dict) else None
        if found is None:
            raise ConfigurationError(
                f"--data: row {number} of {path} is neither messages, prompt and completion, nor instruction and output"
            )
        rows.append(found)
    return rows


def _chat_row(row: dict[str, Any]) -> Row | None:
    messages = row.get("messages")
    if isinstance(messages, list) and len(messages) > 1 and messages[-1].get("role") == "assistant":
        return {"prompt": messages[:-1], "completion": messages[-1:]}
    if isinstance(row.get("instruction"), str) and isinstance(row.get("output"), str):
        return chat_row("\n".join(filter(None, (row["instruction"], row.get("input")))), row["output"])
    prompt, completion = row.get("prompt"), row.get("completion", row.get("response"))
    if isinstance(prompt, str) and isinstance(completion, str):
        return chat_row(prompt, completion)
    if isinstance(prompt, list) and isinstance(completion, list):
        return {"prompt": prompt, "completion": completion}
    return None
