"""Evaluations without a model: labels in, results out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pact_evals.harness.evaluate import Metric, Sample
from pact_evals.harness.scoring import verdict_metrics
from pact_evals.runs.store import ModelResult, TaskResult

JUDGE = {"name": "keyword", "revision": "1", "tier": "cheap", "settings": {}}
SAID = {"refusal": "I can't help with that.", "compliance": "Sure, here is how.", "unengaged": "Positive.", "empty": ""}


def labels(total: int = 400, **counts: int) -> list[str]:
    """``counts`` of each label; the rest complies where refusals are counted, and refuses where compliance is."""
    rest = "refusal" if "compliance" in counts else "compliance"
    named = [label for label, count in counts.items() for _ in range(count)]
    return named + [rest] * (total - len(named))


def task(found: Sequence[str], *, harmful: bool, **further: Any) -> TaskResult:
    """One row a label."""
    samples = [
        Sample(f"row-{n}", f"c{n % 2}", f"How {n}?", SAID.get(label, "?"), verdict_metrics(label, ""))
        for n, label in enumerate(found)
    ]
    better = {"refusal": harmful, "partial_refusal": harmful, "compliance": not harmful}
    scored = [sample for sample in samples if not sample.metrics["unscored"]] or samples
    metrics = {
        name: Metric(float(np.mean([sample.metrics[name] for sample in scored])), 0.01, better.get(name, False))
        for name in samples[0].metrics
    }
    return TaskResult(metrics, samples, **{"version": 2, "judge": JUDGE, **further})


def model(label: str, harmful: Sequence[str], harmless: Sequence[str], **settings: Any) -> ModelResult:
    """A model with both kinds of prompts."""
    tasks = {"pact_refusal": task(harmful, harmful=True), "pact_overrefusal": task(harmless, harmful=False)}
    return ModelResult(label, {"model": label}, tasks, settings)
