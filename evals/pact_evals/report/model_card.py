"""Model-index metadata: the YAML that the Hugging Face hub reads from a model card."""

from __future__ import annotations

import math
from typing import Any

import yaml

from pact_evals.report.comparison import Comparison
from pact_plugins.visible import visible


def render_model_index(comparison: Comparison) -> str:
    """One `model-index` entry per model, with every metric of every task; none for a partial evaluation."""
    whole = [label for label in comparison.labels if label not in comparison.partial]
    index = [{"name": visible(label), "results": _results(comparison, label)} for label in whole]
    return yaml.safe_dump({"model-index": index}, sort_keys=False, allow_unicode=True)


def _results(comparison: Comparison, label: str) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = []
    for task in dict.fromkeys(row.task for row in comparison.metrics):
        counts = [row.means[label].rows for row in comparison.metrics if row.task == task and label in row.means]
        metrics = [
            {
                "type": visible(row.metric),
                "name": visible(row.metric.replace("_", " ")),
                "value": round(row.means[label].value, 4),
            }
            for row in comparison.metrics
            if row.task == task and label in row.means and not math.isnan(row.means[label].value)
        ]
        if metrics:
            results.append(
                {
                    "task": {"type": "text-generation", "name": "text generation"},
                    "dataset": {"type": visible(task), "name": _named(comparison, task, max(counts, default=0))},
                    "metrics": metrics,
                }
            )
    return results


def _named(comparison: Comparison, task: str, rows: int) -> str:
    return visible(f"{task} (version {comparison.versions.get(task)}, {rows} rows)")
