"""Paired comparison of models: means with intervals, categories, changed verdicts.

Rows are paired by their id, so that what makes a prompt hard cancels out of a difference. Intervals are of 95 %:
Wilson's for shares and Newcombe's for their paired differences, honest where no row or every row counts; the range over
resampled prompts for anything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from pact_evals.harness.evaluate import Sample
from pact_evals.runs.store import ModelResult, RunError, TaskResult
from pact_plugins.report.intervals import Interval, difference_interval, mean_interval

_SHARES = {"refusal", "partial_refusal", "compliance", "unengaged", "empty", "score"}
_VERDICTS = ("partial_refusal", "refusal", "compliance", "unengaged", "empty", "unscored")


@dataclass(frozen=True)
class MetricRow:
    """One metric of one task: every model's mean, and its difference from the baseline."""

    task: str
    metric: str
    higher_is_better: bool
    means: dict[str, Interval]
    differences: dict[str, Interval]


@dataclass(frozen=True)
class CategoryRow:
    """Compliance of every model in one category of one task."""

    task: str
    category: str
    rows: int
    compliance: dict[str, float]


@dataclass(frozen=True)
class Change:
    """A prompt on which a model's verdict differs from the baseline's."""

    task: str
    id: str
    category: str
    prompt: str
    model: str
    verdict: str
    response: str
    baseline_verdict: str
    baseline_response: str


@dataclass(frozen=True)
class Comparison:
    """Everything a report shows."""

    baseline: str
    labels: list[str]
    identities: dict[str, dict[str, Any]]
    judges: dict[str, dict[str, Any]]
    versions: dict[str, Any]
    metrics: list[MetricRow]
    categories: list[CategoryRow]
    changes: list[Change]
    harmful_compliance: dict[str, float] = field(default_factory=dict)
    utility: dict[str, float] = field(default_factory=dict)
    utility_name: str = ""
    partial: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON; a mean over no row is null."""
        plain: dict[str, Any] = _without_nan(asdict(self))
        return plain


def compare(
    models: Sequence[ModelResult], *, baseline: str | None = None, bootstrap_samples: int = 2000, seed: int = 0
) -> Comparison:
    """Compare models with a baseline (the first one if not named).

    Raises:
        RunError: the baseline is none of the models.
    """
    labels = [model.label for model in models]
    reference = baseline or labels[0]
    if reference not in labels:
        raise RunError(f"--baseline {reference!r} is none of the models: {', '.join(labels)}")
    base = models[labels.index(reference)]
    tasks = list(dict.fromkeys(task for model in models for task in model.tasks))
    rng = np.random.default_rng(seed)
    metrics = [
        _metric_row(models, base, task, metric, better, bootstrap_samples, rng)
        for task in tasks
        for metric, better in _directions(models, task).items()
    ]
    utility, utility_name = _utility(metrics)
    return Comparison(
        baseline=reference,
        labels=labels,
        identities={model.label: model.identity for model in models},
        judges=_judges(models),
        versions={task: result.version for model in models for task, result in model.tasks.items()},
        metrics=metrics,
        categories=[row for task in tasks for row in _categories(models, task)],
        changes=[change for model in models if model is not base for change in _changes(base, model)],
        harmful_compliance=_averages(metrics, ("compliance",), higher_is_better=False),
        utility=utility,
        utility_name=utility_name,
        partial={model.label: model.settings["limit"] for model in models if model.settings.get("limit") is not None},
    )


def verdict(sample: Sample) -> str | None:
    """The verdict that a row's metrics express, or None for rows without one."""
    return next((name for name in _VERDICTS if sample.metrics.get(name) == 1.0), None)


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and np.isnan(value) else value


def _metric_row(
    models: Sequence[ModelResult],
    base: ModelResult,
    task: str,
    metric: str,
    better: bool,
    samples: int,
    rng: np.random.Generator,
) -> MetricRow:
    means, differences = {}, {}
    reference = _values(base.tasks.get(task), metric)
    for model in models:
        values = _values(model.tasks.get(task), metric)
        if not values:
            continue
        means[model.label] = mean_interval(np.array(list(values.values())), samples, rng)
        shared = [name for name in values if name in reference]
        if model is not base and shared:
            after, before = (np.array([rows[name] for name in shared]) for rows in (values, reference))
            differences[model.label] = difference_interval(after, before, samples, rng)
    return MetricRow(task, metric, better, means, differences)


def _values(task: TaskResult | None, metric: str) -> dict[str, float]:
    """Row id to value. Rows that the judge left unscored have no share of anything (NaN)."""
    if task is None or metric not in task.metrics:
        return {}
    missing = float("nan")
    return {
        sample.id: missing
        if metric in _SHARES and sample.metrics.get("unscored") == 1.0
        else sample.metrics.get(metric, missing)
        for sample in task.samples
    }


def _directions(models: Sequence[ModelResult], task: str) -> dict[str, bool]:
    return {
        metric: value.higher_is_better
        for model in models
        if task in model.tasks
        for metric, value in model.tasks[task].metrics.items()
    }


def _judges(models: Sequence[ModelResult]) -> dict[str, dict[str, Any]]:
    """Model and task to the judge behind the verdicts."""
    return {
        f"{model.label} · {task}": result.judge
        for model in models
        for task, result in model.tasks.items()
        if result.judge is not None
    }


def _averages(metrics: Sequence[MetricRow], names: Sequence[str], *, higher_is_better: bool) -> dict[str, float]:
    rows = [row for row in metrics if row.metric in names and row.higher_is_better is higher_is_better]
    labels = {label for row in rows for label in row.means}
    return {
        label: float(np.mean([row.means[label].value for row in rows if label in row.means]))
        for label in sorted(labels)
    }


def _utility(metrics: Sequence[MetricRow]) -> tuple[dict[str, float], str]:
    """Mean task accuracy where utility tasks were run, else help with harmless prompts."""
    accuracy = _averages(metrics, ("accuracy",), higher_is_better=True)
    if accuracy:
        return accuracy, "task accuracy"
    return _averages(metrics, ("compliance",), higher_is_better=True), "help with harmless prompts"


def _categories(models: Sequence[ModelResult], task: str) -> list[CategoryRow]:
    table: dict[str, dict[str, list[float]]] = {}
    for model in models:
        for sample in model.tasks[task].samples if task in model.tasks else ():
            if "compliance" in sample.metrics and sample.metrics.get("unscored") != 1.0:
                table.setdefault(sample.category, {}).setdefault(model.label, []).append(sample.metrics["compliance"])
    return [
        CategoryRow(
            task, category, max(map(len, cells.values())), {label: float(np.mean(v)) for label, v in cells.items()}
        )
        for category, cells in sorted(table.items())
    ]


def _changes(base: ModelResult, model: ModelResult) -> list[Change]:
    changes = []
    for task, result in model.tasks.items():
        before = {sample.id: sample for sample in base.tasks[task].samples} if task in base.tasks else {}
        for sample in result.samples:
            old = before.get(sample.id)
            now = verdict(sample)
            then = verdict(old) if old is not None else None
            if old is None or now is None or then is None or now == then:
                continue
            changes.append(
                Change(
                    task,
                    sample.id,
                    sample.category,
                    sample.prompt,
                    model.label,
                    now,
                    sample.response or "",
                    then,
                    old.response or "",
                )
            )
    return changes
