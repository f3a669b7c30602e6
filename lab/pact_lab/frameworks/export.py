"""Rows and YAMLs of one scenario as a folder from which the frameworks' own commands train."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import AutoTokenizer

from pact_lab.compare.natural_subject import NaturalSubject
from pact_lab.compare.scenario import NATURAL_SCENARIOS, Scenario
from pact_lab.frameworks.settings import (
    CALIBRATION_FOLDER,
    CHATS_FILE,
    FRAMEWORKS,
    SEGMENTS_FILE,
    Plan,
    data_set_information,
)
from pact_lab.methods import METHODS
from pact_lab.natural_world.alignment import aligned_path
from pact_plugins.contracts import Row
from pact_plugins.errors import ConfigurationError
from pact_plugins.files import make_folder, parse_json, write_json, write_text

METHOD_NAMES = ("sft", "gate_anchor")
_DESCRIPTION = "scenario.json"


def export(name: str, seed: int, folder: Path) -> list[Plan]:
    """Write ``folder``; the runs that can be started from there.

    Raises:
        ConfigurationError: an unknown scenario, or one that trains every weight.
    """
    scenario = NATURAL_SCENARIOS.get(name)
    if scenario is None:
        raise ConfigurationError(f"scenario {name} unknown; choose from {', '.join(NATURAL_SCENARIOS)}")
    if scenario.tuning.adapter != "lora":
        raise ConfigurationError(f"{name} trains every weight; the export knows the scenarios that train with LoRA")
    make_folder(folder)
    subject = NaturalSubject(folder / CALIBRATION_FOLDER, limit=None)
    model_path = str(aligned_path())
    write_rows(subject.rows(scenario, seed), AutoTokenizer.from_pretrained(model_path), folder)
    found = plans(scenario, seed, model_path)
    for plan in found:
        write_text(folder / plan.file_name, yaml.safe_dump(plan.settings(), sort_keys=False))
    write_json(folder / _DESCRIPTION, {"scenario": name, "seed": seed})
    return found


def write_rows(rows: Sequence[Row], tokenizer: Any, folder: Path) -> None:
    """The rows as chats for LLaMA-Factory, and through the model's own chat template as segments for Axolotl."""
    _write_lines(folder / CHATS_FILE, [{"messages": [*row["prompt"], *row["completion"]]} for row in rows])
    write_json(folder / "dataset_info.json", data_set_information())
    _write_lines(folder / SEGMENTS_FILE, [{"segments": _segments(row, tokenizer)} for row in rows])


def _segments(row: Row, tokenizer: Any) -> list[dict[str, Any]]:
    prompt = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, tokenize=False)
    whole = tokenizer.apply_chat_template([*row["prompt"], *row["completion"]], tokenize=False)
    return [{"label": False, "text": prompt}, {"label": True, "text": whole.removeprefix(prompt)}]


def _write_lines(file: Path, rows: Sequence[Any]) -> None:
    write_text(file, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def plans(scenario: Scenario, seed: int, model_path: str) -> list[Plan]:
    """Every framework with every method."""
    methods = {method.name: method for method in METHODS}
    on_cpu = not torch.cuda.is_available()
    return [
        Plan(framework, methods[name], model_path, scenario.tuning, seed, on_cpu)
        for framework in FRAMEWORKS
        for name in METHOD_NAMES
    ]


def exported(folder: Path) -> tuple[Scenario, int]:
    """Scenario and seed of an exported folder.

    Raises:
        ConfigurationError: the folder is none.
    """
    try:
        found = parse_json((folder / _DESCRIPTION).read_text(encoding="utf-8"))
        return NATURAL_SCENARIOS[found["scenario"]], int(found["seed"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"{folder} is no exported folder ({error!r}); `pact natural-world export SCENARIO -o {folder}` makes one"
        ) from error
