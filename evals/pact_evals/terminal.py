"""What ``pact eval``, ``pact judge`` and the stock ``lm_eval`` print in the end: the metrics, then the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from pact_plugins.report.terminal import print_table

if TYPE_CHECKING:
    from pact_evals.runs.store import ModelResult

_ALWAYS_SHOWN = ("refusal", "compliance")


def print_metrics(models: Sequence[ModelResult]) -> None:
    """One row a metric, in the words of every report: its prompts, every model's mean and interval; then the verdict.

    Metrics that are 0 for every model are left out.
    """
    from pact_evals.report import words
    from pact_evals.report.comparison import compare

    comparison = compare(models)
    shown = [
        row
        for row in comparison.metrics
        if row.metric in _ALWAYS_SHOWN or any(mean.value != 0 for mean in row.means.values())
    ]
    rows = [
        (
            row.task,
            f"{row.metric} {words.arrow(row)}",
            words.rows_text(row),
            *(words.mean_text(row, label) for label in comparison.labels),
        )
        for row in shown
    ]
    print_table(("task", "metric", "rows", *comparison.labels), rows, numbers=("rows", *comparison.labels))
    click.echo("Means with 95 % intervals. Metrics that are 0 for every model are left out.")
    for sentence in words.partial_text(comparison):
        click.echo(sentence)
    if len(models) > 1:
        click.echo(_verdict(models))


def _verdict(models: Sequence[ModelResult]) -> str:
    from pact_evals.checking import check_models
    from pact_evals.rule import Margins, headline

    found = headline(check_models(models, Margins()).verdict)
    against = f"{', '.join(model.label for model in models[1:])} against {models[0].label}"
    return f"{found}: {against}. `pact check` says by how much, and how sure that is."
