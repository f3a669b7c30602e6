"""How numbers read in reports."""

from __future__ import annotations

import math

from pact_evals.report.comparison import Comparison, MetricRow
from pact_plugins.report.intervals import Interval

_IN_NATS = {"margin"}


def arrow(row: MetricRow) -> str:
    """Which direction is better."""
    return "↑" if row.higher_is_better else "↓"


def rows_text(row: MetricRow) -> str:
    """How many rows have a value: `132`, or `24 to 132` where the models differ."""
    counts = sorted({interval.rows for interval in row.means.values()})
    return " to ".join(map(str, dict.fromkeys((counts[0], counts[-1])))) if counts else ""


def partial_text(comparison: Comparison) -> list[str]:
    """One sentence for each model that was evaluated on a part of the rows."""
    return [
        f"{label} is a partial evaluation: the first {limit} rows of each task (--limit)."
        for label, limit in comparison.partial.items()
    ]


def mean_text(row: MetricRow, label: str) -> str:
    """`97.2 % [94.1, 99.0]`, or an empty string where the model has no such metric."""
    interval = row.means.get(label)
    return "" if interval is None else _text(interval, row.metric, signed=False)


def difference_text(row: MetricRow, label: str) -> str:
    """`+3.1 [+0.4, +5.9]` against the baseline, in percentage points (nats for margins)."""
    interval = row.differences.get(label)
    return "" if interval is None else _text(interval, row.metric, signed=True)


def is_clear(row: MetricRow, label: str) -> bool:
    """True if the interval of the difference leaves out zero."""
    interval = row.differences.get(label)
    return interval is not None and (interval.low > 0 or interval.high < 0)


def _text(interval: Interval, metric: str, *, signed: bool) -> str:
    if math.isnan(interval.value):
        return "no row scored"
    scale, digits, unit = (1.0, 2, " nats") if metric in _IN_NATS else (100.0, 1, "" if signed else " %")
    sign = "+" if signed else ""
    value, low, high = (
        f"{number * scale:{sign}.{digits}f}" for number in (interval.value, interval.low, interval.high)
    )
    return f"{value}{unit} [{low}, {high}]"
