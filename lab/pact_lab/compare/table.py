"""The tables of a comparison, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pact_lab.compare.grid import ALIGNED, Record
from pact_lab.compare.statistics import COLUMNS, Column, Summary
from pact_plugins.report.intervals import Figure
from pact_plugins.report.markdown import table


def markdown(summaries: Sequence[Summary], descriptions: Mapping[str, str]) -> str:
    """A table for each scenario, the aligned model's figures in its first row.

    Args:
        descriptions: of the scenarios.
    """
    aligned = next((summary for summary in summaries if summary.scenario == ALIGNED), None)
    scenarios = dict.fromkeys(summary.scenario for summary in summaries if summary.scenario != ALIGNED)
    columns = [column for column in COLUMNS if any(column.name in summary.figures for summary in summaries)]
    parts = []
    for scenario in scenarios:
        rows = [summary for summary in summaries if summary.scenario == scenario]
        header = ["", "seeds", *(column.heading for column in columns)]
        lines = table(header, [_row(summary, columns) for summary in ([aligned] if aligned else []) + rows])
        description = descriptions.get(scenario, "")
        parts.append(f"### {scenario}\n\n{description[:1].upper()}{description[1:]}.\n\n" + lines + "\n")
    legend = (
        "In %: mean over the seeds [95 % interval, seeds and prompts resampled] worst seed. Greedy and sampled are "
        "harmful requests, at temperature 0 and 1.\n"
    )
    return legend + "\n" + "\n".join(parts)


def _row(summary: Summary, columns: Sequence[Column]) -> list[str]:
    name = "aligned, before" if summary.scenario == ALIGNED else summary.method
    # What the aligned model makes of a task that it was never taught says nothing.
    shown = [
        "" if summary.scenario == ALIGNED and column.name == "accuracy" else text(summary.figures.get(column.name))
        for column in columns
    ]
    return [name, str(summary.seeds), *shown]


def text(figure: Figure | None) -> str:
    """``12.3 [10.1-14.0] 15.0``; one number where nothing varies."""
    if figure is None:
        return ""
    mean, worst, low, high = (100 * value for value in (figure.mean, figure.worst, figure.low, figure.high))
    if high - low < 0.05:
        return f"{mean:.1f}"
    return f"{mean:.1f} [{low:.1f}-{high:.1f}]" + (f" {worst:.1f}" if figure.seeds > 1 else "")


def audit_table(records: Sequence[Record]) -> str:
    """What the audit found in each poisoned scenario; counts are summed over the seeds."""
    rows = []
    for scenario in dict.fromkeys(record["scenario"] for record in records):
        found = [record["detection"] for record in records if record["scenario"] == scenario]
        cells = [_fraction(found, name) for name in ("precision", "recall", "false_positives")]
        auc = sum(one["auc"] for one in found) / len(found)
        rows.append([scenario, str(len(found)), *cells, f"{auc:.3f}"])
    header = ["scenario", "seeds", "precision", "recall", "false positives", "AUC"]
    return "### The audit\n\n" + table(header, rows) + "\n"


def _fraction(found: Sequence[Mapping[str, Any]], name: str) -> str:
    hits, of = (sum(one[name][key] for one in found) for key in ("count", "total"))
    return f"{hits} of {of}" + (f" ({100 * hits / of:.1f} %)" if of else "")
