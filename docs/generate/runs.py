"""The runs of the real language model, and their figures as means over the seeds, in %."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "natural.json"
Run = Mapping[str, Any]


def all_runs() -> list[Run]:
    """Every run of ``benchmarks/results/natural.json``."""
    runs: list[Run] = json.loads(RESULTS.read_text(encoding="utf-8"))["runs"]
    return runs


def chosen(runs: Sequence[Run], scenario: str, method: str) -> list[Run]:
    """One method's runs in a scenario, a seed each; the aligned model's are the same in all."""
    own = {scenario, "aligned"} if method == "aligned" else {scenario}
    return [run for run in runs if run["scenario"] in own and run["method"] == method]


def share(own: Sequence[Run], part: str, verdict: str) -> float:
    """Of the prompts of a kind, those with that verdict; runs hold rounded fractions of whole prompts."""
    return 100 * fmean(round(run[part][verdict] * run["prompts"]) / run["prompts"] for run in own)


def task(own: Sequence[Run]) -> float | None:
    """The task's accuracy; None where there is none."""
    accuracies = [run["task_accuracy"] for run in own if run["task_accuracy"] is not None]
    return 100 * fmean(accuracies) if accuracies else None
