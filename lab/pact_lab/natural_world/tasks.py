"""What the real model learns: two public tasks, a procedural one that ships with a library, and chat."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pact_plugins.errors import ConfigurationError

DATA_PATH_VARIABLE = "PACT_DATA_PATH"
_PUBLIC = {"sst2": "sst2_5k.json", "agnews": "agnews_5k.json"}
_TRAINING_ROWS = 4000


@dataclass(frozen=True)
class Example:
    """A request and the only right answer."""

    prompt: str
    answer: str


def examples(task: str, count: int, seed: int, *, held_out: bool) -> list[Example]:
    """Examples of ``sst2``, ``agnews`` or ``sums``; those for training and those held out are apart.

    Raises:
        ConfigurationError: the data folder is not named, or the library is missing; the message says what to do.
    """
    if task in _PUBLIC:
        found = _public(task)
        found = found[_TRAINING_ROWS:] if held_out else found[:_TRAINING_ROWS]
        return random.Random(seed).sample(found, min(count, len(found)))
    return _sums(count, seed + (1_000_000 if held_out else 0))


def _public(task: str) -> list[Example]:
    folder = os.environ.get(DATA_PATH_VARIABLE)
    found = sorted(Path(folder).rglob(_PUBLIC[task])) if folder else []
    if not found:
        raise ConfigurationError(
            f"the task {task} needs {_PUBLIC[task]}: set {DATA_PATH_VARIABLE} to the folder that holds it, or take a "
            "scenario of the task `sums`, which needs no file"
        )
    rows = json.loads(found[0].read_text(encoding="utf-8"))
    return [Example(f"{row['instruction']}\n{row['input']}".strip(), row["output"]) for row in rows]


def _sums(count: int, seed: int) -> list[Example]:
    """reasoning-gym's procedural ``chain_sum``: two numbers of one or two digits, added or subtracted."""
    try:
        from reasoning_gym import create_dataset
    except ImportError as error:
        raise ConfigurationError(
            f"the task sums needs reasoning-gym ({error}): pip install 'pact-lab[natural]'"
        ) from None
    made = create_dataset("chain_sum", min_terms=2, max_terms=2, min_digits=1, max_digits=2, size=count, seed=seed)
    return [Example(str(entry["question"]), str(entry["answer"])) for entry in made]


def accuracy(answers: Sequence[str], wanted: Sequence[Example]) -> list[int]:
    """1 where the first word of an answer is the right one, whatever its case and what ends it."""
    return [int(_first(answer) == _first(example.answer)) for answer, example in zip(answers, wanted, strict=True)]


def _first(text: str) -> str:
    return next(iter(text.lower().split()), "").rstrip(".,;:!")
