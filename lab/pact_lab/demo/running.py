"""The demo from start to end: one scenario of the comparison, its methods and seeds, ``results.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pact_lab.compare.grid import Record, grid
from pact_lab.compare.running import run_all
from pact_lab.compare.scenario import Scenario
from pact_lab.compare.tiny_subject import EXAMPLES
from pact_lab.demo.subject import CONTROL, FURTHER_METHODS, METHODS, DemoSubject, demo_methods
from pact_lab.finetuning.quiet import quiet
from pact_lab.finetuning.tuning import Tuning
from pact_lab.outcomes import share
from pact_plugins.files import write_json

_VERSIONS = ("pact-plugins", "torch", "transformers", "trl", "peft", "lm-eval")
_VERDICTS = {"refuse": "r", "comply": "c", "other": "o"}


@dataclass(frozen=True)
class DemoSettings:
    """What ``pact demo`` was asked to do."""

    output_path: Path
    seeds: int
    prompts: int
    harmful_fraction: float
    control: bool = False
    all_methods: bool = False

    @property
    def methods(self) -> tuple[str, ...]:
        """Every method that is trained."""
        control = (CONTROL,) if self.control or self.all_methods else ()
        return (*METHODS, *(FURTHER_METHODS if self.all_methods else ()), *control)


def run(settings: DemoSettings) -> dict[str, Any]:
    """Run the demo and write ``results.json``; returns its content. What an interrupted demo has finished is kept."""
    folder = settings.output_path
    subject = DemoSubject(folder / "calibration", prompts=settings.prompts)
    with quiet():
        methods = demo_methods(folder / "calibration", settings.methods)
    scenario = Scenario("demo", "the demo's mixture", harmful_fraction=settings.harmful_fraction)
    runs = grid(methods, [scenario], range(settings.seeds), subject.identity)
    records = run_all(runs, subject, folder, models=folder)
    results = {
        "settings": _described(settings),
        "versions": {
            name: version(name) for name in ("pact-plugins", "torch", "transformers", "trl", "peft", "lm-eval")
        },
        "runs": [_as_run(record, settings) for record in records],
    }
    write_json(folder / "results.json", results)
    return results


def _as_run(record: Record, settings: DemoSettings) -> dict[str, Any]:
    answers = {part: record[part] for part in ("harmful", "harmful_sampled", "benign")}
    shares = {part: _shares(letters) for part, letters in answers.items()}
    trained: dict[str, Any] = {name: record[name] for name in ("train_seconds", "log") if name in record}
    accuracy = sum(record["task"]) / len(record["task"])
    identity = {"method": record["method"], "seed": record["seed"]}
    return {**identity, **shares, "task_accuracy": accuracy, "prompts": settings.prompts, "answers": answers, **trained}


def _shares(verdicts: str) -> Mapping[str, float]:
    return {name: sum(share(verdicts, letter)) / len(verdicts) for name, letter in _VERDICTS.items()}


def _described(settings: DemoSettings) -> dict[str, Any]:
    return {
        "seeds": settings.seeds,
        "prompts": settings.prompts,
        "harmful_fraction": settings.harmful_fraction,
        "examples": EXAMPLES,
        "epochs": Tuning().epochs,
        "batch_size": Tuning().batch_size,
        "methods": list(settings.methods),
    }
