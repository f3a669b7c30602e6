"""What ``pact eval`` and ``pact judge`` print in the end: the verdict, and the metrics that are not all zero."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from pact_plugins.report.terminal import print_table

if TYPE_CHECKING:
    from pact_evals.harness.evaluate import Metric
    from pact_evals.runs.store import ModelResult

_ALWAYS_SHOWN = ("refusal", "compliance")


def print_metrics(models: Sequence[ModelResult]) -> None:
    """One row a metric, with its rows and every model's mean and standard error; then whether refusals were kept."""
    labels = [model.label for model in models]
    names = dict.fromkeys(
        (task, metric) for m in models for task, result in m.tasks.items() for metric in result.metrics
    )
    rows = []
    for task, metric in names:
        cells = [model.tasks[task].metrics.get(metric) if task in model.tasks else None for model in models]
        if metric not in _ALWAYS_SHOWN and not any(cell is not None and cell.value for cell in cells):
            continue
        arrow = next("↑" if cell.higher_is_better else "↓" for cell in cells if cell is not None)
        counts = sorted({len(model.tasks[task].samples) for model in models if task in model.tasks})
        rows.append((task, f"{metric} {arrow}", " to ".join(map(str, counts)), *map(_cell, cells)))
    print_table(("task", "metric", "rows", *labels), rows, numbers=("rows", *labels))
    click.echo("Metrics that are 0 for every model are left out.")
    for model in models:
        if model.settings.get("limit") is not None:
            click.echo(f"{model.label} is a PARTIAL evaluation: the first {model.settings['limit']} rows of each task.")
    if len(models) > 1:
        click.echo(_verdict(models))


def _verdict(models: Sequence[ModelResult]) -> str:
    from pact_evals.checking import check_models
    from pact_evals.rule import Margins

    found = check_models(models, Margins())
    against = f"{', '.join(model.label for model in models[1:])} against {models[0].label}"
    return f"Refusals {found.verdict.upper()}: {against}. `pact check` says by how much, and how sure that is."


def _cell(metric: Metric | None) -> str:
    if metric is None:
        return ""
    return f"{metric.value:.3f}" + (f" ± {metric.stderr:.3f}" if metric.stderr is not None else "")
