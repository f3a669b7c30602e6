"""The adapters that the frameworks left, measured as the comparison measures its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peft import PeftModel
from tqdm.auto import tqdm

from pact_lab.compare.natural_subject import NaturalSubject
from pact_lab.compare.scenario import Scenario
from pact_lab.finetuning.quiet import quiet
from pact_lab.frameworks import tokens
from pact_lab.frameworks.export import exported, plans
from pact_lab.frameworks.settings import CALIBRATION_FOLDER, PREPARED_FOLDER, RUNS_FOLDER, Plan
from pact_lab.natural_world.alignment import aligned_path
from pact_lab.natural_world.results import runs_in, shares_of
from pact_plugins.errors import ConfigurationError
from pact_plugins.files import parse_json, write_json

_ADAPTER = "adapter_model.safetensors"
# Of pact.json, what says that the run was protected, and how.
_PROTECTION = ("optimizer_steps_protected", "gradient_receipts", "reference", "versions")


def measure(folder: Path, output: Path, prompts: int) -> list[dict[str, Any]]:
    """All runs that ``output`` then holds; those of ``folder`` that are trained and not in it are measured first.

    Raises:
        ConfigurationError: ``folder`` is no exported folder or holds no trained run, or ``output`` is damaged.
    """
    scenario, seed = exported(folder)
    subject = NaturalSubject(folder / CALIBRATION_FOLDER, limit=prompts)
    every = plans(scenario, seed, str(aligned_path()))
    trained = [plan for plan in every if (folder / RUNS_FOLDER / plan.name / _ADAPTER).is_file()]
    if not trained:
        raise ConfigurationError(f"{folder} holds no trained run; there, start: {every[0].command}")
    runs = runs_in(output, place_of)
    missing = [plan for plan in trained if (scenario.name, plan.framework, plan.method.name, seed, prompts) not in runs]
    with quiet():
        for plan in tqdm(missing, unit="run", disable=not missing):
            run = {"prompts": prompts, **_run(plan, scenario, subject, folder)}
            runs[place_of(run)] = run
            write_json(output, {"runs": [runs[place] for place in sorted(runs)]})
    return [runs[place] for place in sorted(runs)]


def place_of(run: Mapping[str, Any]) -> tuple[str, str, str, int, int]:
    return run["scenario"], run["framework"], run["method"], run["seed"], run["prompts"]


def _run(plan: Plan, scenario: Scenario, subject: NaturalSubject, folder: Path) -> dict[str, Any]:
    model, tokenizer = subject.load()
    rows = subject.rows(scenario, plan.seed)
    wanted = tokens.of_trl(model, tokenizer, rows, plan.tuning, folder / RUNS_FOLDER / "trl")
    found = tokens.of_framework(folder / PREPARED_FOLDER / plan.name)
    # TRL has put an adapter on that model.
    model, tokenizer = subject.load()
    left = folder / RUNS_FOLDER / plan.name
    model = PeftModel.from_pretrained(model, left).merge_and_unload()
    return {
        "scenario": scenario.name,
        "framework": plan.framework,
        "method": plan.method.name,
        "seed": plan.seed,
        **shares_of(subject.evaluate(model, tokenizer, plan.seed, scenario)),
        "rows": len(rows),
        "rows_with_the_tokens_of_trl": (wanted & found).total(),
        "protection": protection(left / "pact.json"),
    }


def protection(record: Path) -> dict[str, Any] | None:
    """What ``pact.json`` says of a run, the gated rows by their numbers alone: their text is somebody's data."""
    if not record.is_file():
        return None
    found = parse_json(record.read_text(encoding="utf-8"))
    rows = sorted(row["row"] for row in found["parts"].get("row_gate", {}).get("gated_rows", ()))
    return {**{key: found[key] for key in _PROTECTION}, "gated_rows": rows}
