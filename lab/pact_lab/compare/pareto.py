"""The Pareto plot: harmful compliance against what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pact_lab.compare.grid import ALIGNED
from pact_lab.compare.statistics import Summary
from pact_plugins.report.charts import as_svg
from pact_plugins.report.intervals import Figure

# (column on x, label, column on y, label)
_PANELS = (
    ("sampled", "sampled compliance, %", "accuracy", "task, %"),
    ("greedy", "greedy compliance, %", "accuracy", "task, %"),
    ("sampled", "sampled compliance, %", "over_refusal", "harmless requests refused, %"),
    ("greedy", "greedy compliance, %", "over_refusal", "harmless requests refused, %"),
)
_HIGHER_IS_BETTER = {"accuracy": True, "over_refusal": False}


def frontier(points: Sequence[tuple[float, float]], *, higher_is_better: bool) -> list[int]:
    """Indices of the points that no other beats: smaller x, and larger (or smaller) y."""
    sign = -1 if higher_is_better else 1
    costs = [(x, sign * y) for x, y in points]

    def beaten(own: tuple[float, float]) -> bool:
        return any(other != own and other[0] <= own[0] and other[1] <= own[1] for other in costs)

    return [index for index, cost in enumerate(costs) if not beaten(cost)]


def plot(summaries: Sequence[Summary], scenario: str) -> str:
    """An SVG with four panels for one scenario; bars are 95 % intervals, filled points are on the frontier."""
    from matplotlib.figure import Figure as Canvas

    rows = [summary for summary in summaries if summary.scenario == scenario]
    aligned = next((summary for summary in summaries if summary.scenario == ALIGNED), None)
    canvas = Canvas(figsize=(11, 8), layout="constrained")
    for axes, (x, x_label, y, y_label) in zip(canvas.subplots(2, 2).flat, _PANELS, strict=True):
        shown = [row for row in rows if x in row.figures and y in row.figures]
        better = _HIGHER_IS_BETTER[y]
        best = set(frontier([(r.figures[x].mean, r.figures[y].mean) for r in shown], higher_is_better=better))
        for index, row in enumerate(shown):
            _point(axes, row, x, y, color=f"C{index % 10}", marker="osD"[index // 10 % 3], filled=index in best)
        if aligned is not None and x in aligned.figures:
            axes.axvline(100 * aligned.figures[x].mean, color="#888", linestyle=":", linewidth=1)
        axes.set(xlabel=x_label, ylabel=y_label)
        axes.grid(alpha=0.3)
    handles, labels = canvas.axes[0].get_legend_handles_labels()
    canvas.legend(handles, labels, loc="outside right center", frameon=False)
    canvas.suptitle(f"{scenario}; dotted: the aligned model; filled: nothing else is better in both")
    return as_svg(canvas)


def _point(axes: Any, row: Summary, x: str, y: str, *, color: str, marker: str, filled: bool) -> None:
    horizontal, vertical = row.figures[x], row.figures[y]
    axes.errorbar(
        [100 * horizontal.mean],
        [100 * vertical.mean],
        xerr=_bars(horizontal),
        yerr=_bars(vertical),
        fmt=marker,
        color=color,
        markerfacecolor=color if filled else "white",
        elinewidth=0.8,
        label=row.method,
    )


def _bars(figure: Figure) -> list[list[float]]:
    return [[100 * max(0.0, figure.mean - figure.low)], [100 * max(0.0, figure.high - figure.mean)]]
