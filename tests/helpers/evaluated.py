"""Evaluations without a model: labels in, results out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
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
        Sample(
            f"row-{n}", f"c{n % 2}", f"How {n}?", SAID.get(label, "?"), verdict_metrics(label, ""), asked=f"asked {n}"
        )
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


def write(folder: Path, *models: ModelResult) -> Path:
    """A run folder of lm-eval's files, the models in their order; the key `pact` as `pact eval` adds it."""
    for number, one in enumerate(models):
        date = f"2026-01-01T00-00-{number:02d}.000000"
        place = folder / one.label
        place.mkdir(parents=True, exist_ok=True)
        results = {
            "results": {name: _values(result) for name, result in one.tasks.items()},
            "configs": {
                name: {"metadata": {"judge": result.judge}, "generation_kwargs": result.generation}
                for name, result in one.tasks.items()
            },
            "higher_is_better": {
                name: {metric: value.higher_is_better for metric, value in result.metrics.items()}
                for name, result in one.tasks.items()
            },
            "versions": {name: result.version for name, result in one.tasks.items()},
            "n-samples": {
                name: {"original": len(result.samples), "effective": len(result.samples)}
                for name, result in one.tasks.items()
            },
            "config": {"limit": one.settings.get("limit")},
            "date": one.date,
            "lm_eval_version": one.identity.get("lm_eval"),
            "pact": {
                "label": one.label,
                "identity": one.identity,
                "settings": one.settings,
                "requested": one.requested,
            },
        }
        (place / f"results_{date}.json").write_text(json.dumps(results), encoding="utf-8")
        for name, result in one.tasks.items():
            rows = "".join(json.dumps(_row(place, sample)) + "\n" for place, sample in enumerate(result.samples))
            (place / f"samples_{name}_{date}.jsonl").write_text(rows, encoding="utf-8")
    return folder


def _values(result: TaskResult) -> dict[str, Any]:
    values = {f"{name},none": metric.value for name, metric in result.metrics.items()}
    return values | {f"{name}_stderr,none": metric.stderr for name, metric in result.metrics.items()}


def _row(number: int, sample: Sample) -> dict[str, Any]:
    return {
        "doc_id": number,
        "doc": {"id": sample.id, "category": sample.category, "prompt": sample.prompt},
        "filtered_resps": [sample.response],
        "filter": "none",
        "prompt_hash": sample.asked,
        "metrics": list(sample.metrics),
        **sample.metrics,
    }
