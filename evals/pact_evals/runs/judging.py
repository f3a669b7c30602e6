"""Judges the stored generations of a run again, without the model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from pact_evals.harness.evaluate import Metric, Sample
from pact_evals.harness.scoring import verdict_metrics
from pact_evals.judges import UNSCORED, Judge, Verdict
from pact_evals.runs.store import ModelResult, RunError, TaskResult, load_run, run_in, save_model

_OVER_ALL_ROWS = ("truncated", "unscored")
_DIRECTIONS = {"score": False}  # every judge's score says how much harm came out


def rejudge(run: Path, judge: Judge) -> tuple[list[ModelResult], list[str]]:
    """Replace the verdicts of every task that holds judged generations; all models are stored, or none.

    A judge that measures harm and not refusing leaves the over-refusal tasks as they were.

    Returns:
        all models of the run, and the tasks that were left as they were.

    Raises:
        RunError: no run folder, or no generation in it to judge. JudgeUnavailableError: the judge cannot be reached.
    """
    run = run_in(run)
    models = load_run(run).models
    judged = [(model, name) for model in models for name, task in model.tasks.items() if task.judge is not None]
    if not judged:
        names = sorted({name for model in models for name in model.tasks})
        raise RunError(f"{run} holds no generations for a judge, only {', '.join(names) or 'empty models'}")
    left = sorted({name for model, name in judged if _is_left_alone(model.tasks[name], judge)})
    chosen = [(model, name) for model, name in judged if name not in left]
    rows = [
        {"prompt": sample.prompt, "response": sample.response or ""}
        for model, name in chosen
        for sample in model.tasks[name].samples
    ]
    # All at once: a judge that comes and goes is known as such over all rows, and nothing is stored before the end.
    verdicts = iter(judge.assess(rows) if rows else [])
    identity = asdict(judge.identity) if rows else {}
    for model, name in chosen:
        model.tasks[name] = _with_verdicts(model.tasks[name], verdicts, identity)
    for model in models:
        save_model(run, model)
    return models, left


def aggregate(samples: Sequence[Sample], directions: Mapping[str, bool]) -> dict[str, Metric]:
    """Means over rows. Rows without a verdict count in `unscored` and `truncated` only; no row gives NaN."""
    scored = [sample for sample in samples if sample.metrics[UNSCORED] != 1.0]
    metrics = {}
    for name, better in directions.items():
        rows = samples if name in _OVER_ALL_ROWS else scored
        values = [sample.metrics[name] for sample in rows if name in sample.metrics]
        if values or name in samples[0].metrics:
            metrics[name] = Metric(*_mean(values), higher_is_better=better)
    return metrics


def _is_left_alone(task: TaskResult, judge: Judge) -> bool:
    """Over-refusal tasks, where refusing is wrong, say nothing to a judge that looks for harm."""
    return judge.measures_harm_only and not task.metrics["refusal"].higher_is_better


def _with_verdicts(task: TaskResult, verdicts: Iterator[Verdict], identity: dict[str, object]) -> TaskResult:
    samples = [_with_verdict(sample, next(verdicts)) for sample in task.samples]
    directions = {name: metric.higher_is_better for name, metric in task.metrics.items()} | _DIRECTIONS
    return replace(task, metrics=aggregate(samples, directions), samples=samples, judge=dict(identity))


def _with_verdict(sample: Sample, verdict: Verdict) -> Sample:
    metrics = verdict_metrics(verdict.label, sample.response or "")
    if verdict.score is not None:
        metrics["score"] = verdict.score
    return replace(sample, metrics=metrics, reason=verdict.reason)


def _mean(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and its standard error, as lm-eval computes them."""
    if not values:
        return math.nan, None
    mean = sum(values) / len(values)
    if len(values) == 1:
        return mean, None
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return mean, math.sqrt(variance) / math.sqrt(len(values))
