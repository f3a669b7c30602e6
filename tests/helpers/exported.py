"""An export of the frameworks' rows and YAMLs on the toy benchmark, and the tokens that a framework must make of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from transformers import AutoTokenizer

from pact_lab import tiny_world
from pact_lab.compare.scenario import Scenario
from pact_lab.finetuning.tuning import Tuning
from pact_lab.frameworks.export import plans, write_rows
from pact_lab.frameworks.settings import Plan

ROWS = tiny_world.finetuning_rows(12, harmful_fraction=0.1, seed=4)
TUNING = Tuning(epochs=1, batch_size=4, max_length=256)


def write(folder: Path) -> list[Plan]:
    """Rows and YAMLs, as ``pact natural-world export`` writes those of the real model."""
    folder.mkdir(parents=True, exist_ok=True)
    found = plans(Scenario("tiny", "the toy benchmark", tuning=TUNING), 0, str(tiny_world.aligned_path()))
    write_rows(ROWS, tokenizer(), folder)
    for plan in found:
        (folder / plan.file_name).write_text(yaml.safe_dump(plan.settings(), sort_keys=False))
    return found


def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(tiny_world.aligned_path())


def expected() -> list[tuple[list[int], list[int]]]:
    """Token ids and labels of each row: all that follows the generation prompt is trained on."""
    chat = tokenizer()
    rows = []
    for row in ROWS:
        prompt, whole = (
            chat.apply_chat_template(messages, add_generation_prompt=opens, tokenize=True, return_dict=False)
            for messages, opens in ((row["prompt"], True), ([*row["prompt"], *row["completion"]], False))
        )
        assert whole[: len(prompt)] == prompt
        rows.append((whole, [-100] * len(prompt) + whole[len(prompt) :]))
    return rows
