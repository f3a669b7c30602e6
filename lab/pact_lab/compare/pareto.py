"""The Pareto plot: harmful compliance against what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pact_lab.compare.grid import ALIGNED
from pact_lab.compare.statistics import Summary
from pact_plugins.report.charts import COLORS, as_svg, crowding, label_points, new_figure
from pact_plugins.report.intervals import Figure

# (column on x, label, column on y, label)
_PANELS = (
    ("sampled", "sampled compliance, %", "accuracy", "task, %"),
    ("greedy", "greedy compliance, %", "accuracy", "task, %"),
    ("sampled", "sampled compliance, %", "over_refusal", "harmless requests refused, %"),
    ("greedy", "greedy compliance, %", "over_refusal", "harmless requests refused, %"),
)
_LEGEND = "Dotted: the aligned model. Filled: nothing else is better in both. A ring lies around what it hides."
_NEAR = 0.5  # percentage points: closer than this, one hides the other
_NARROWEST = 10.0  # percentage points of an axis
_HIGHER_IS_BETTER = {"accuracy": True, "over_refusal": False}


def frontier(points: Sequence[tuple[float, float]], *, higher_is_better: bool) -> list[int]:
    """Indices of the points that no other beats: smaller x, and larger (or smaller) y."""
    sign = -1 if higher_is_better else 1
    costs = [(x, sign * y) for x, y in points]

    def beaten(own: tuple[float, float]) -> bool:
        return any(other != own and other[0] <= own[0] and other[1] <= own[1] for other in costs)

    return [index for index, cost in enumerate(costs) if not beaten(cost)]


def plot(summaries: Sequence[Summary], scenario: str) -> str:
    """An SVG with all panels of one scenario; bars are 95 % intervals, filled points are on the frontier."""
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(11, 8), layout="constrained")
    places = zip(canvas.subplots(2, 2).flat, _PANELS, strict=True)
    told = [_draw(axes, panel, summaries, scenario) for axes, panel in places]
    canvas.suptitle(f"{scenario}; {_LEGEND}")
    return as_svg(canvas, "; ".join(told))


def panels(summaries: Sequence[Summary], scenario: str) -> dict[str, str]:
    """Caption to SVG, one for each panel in which a method has both figures."""
    found = {}
    for panel in _PANELS:
        figure, axes = new_figure(5.2, 4.0)
        told = _draw(axes, panel, summaries, scenario)
        if told:
            good = "top" if _HIGHER_IS_BETTER[panel[2]] else "bottom"
            what = f"{panel[1]} and {panel[3]}".replace(", %", "")
            found[f"Each method's {what}. Good is {good} left. {_LEGEND}"] = as_svg(figure, told)
    return found


def _draw(axes: Any, panel: tuple[str, str, str, str], summaries: Sequence[Summary], scenario: str) -> str:
    """One panel, every point with its name; returns what a reader who does not see it is told."""
    x, x_label, y, y_label = panel
    shown = [row for row in summaries if row.scenario == scenario and x in row.figures and y in row.figures]
    aligned = next((summary for summary in summaries if summary.scenario == ALIGNED), None)
    places = [(100 * row.figures[x].mean, 100 * row.figures[y].mean, row.method) for row in shown]
    best = set(frontier([place[:2] for place in places], higher_is_better=_HIGHER_IS_BETTER[y]))
    crowded = crowding([place[:2] for place in places], near=_NEAR)
    for index, row in enumerate(shown):
        style = {"color": COLORS[index % len(COLORS)], "fmt": "osD"[index // len(COLORS) % 3]}
        _point(axes, row, x, y, filled=index in best, before=crowded[index], **style)
    ends = [100 * end for row in shown for end in (row.figures[x].low, row.figures[x].high)]
    if aligned is not None and x in aligned.figures:
        axes.axvline(100 * aligned.figures[x].mean, color="#888888", linestyle=":", linewidth=1)
        ends.append(100 * aligned.figures[x].mean)
    axes.set(xlabel=x_label, ylabel=y_label, xlim=limits(ends))
    axes.set_ylim(limits([100 * end for row in shown for end in (row.figures[y].low, row.figures[y].high)]))
    label_points(axes, places)
    return "; ".join(f"{name}: {across:.1f} {x_label}, {up:.1f} {y_label}" for across, up, name in places)


def limits(values: Sequence[float]) -> tuple[float, float]:
    """Ends of an axis in %: the values with room around them, never beyond 0 to 100, never narrower than 10 points."""
    low, high = min(values, default=0.0), max(values, default=100.0)
    room = max(0.08 * (high - low), (_NARROWEST - (high - low)) / 2)
    low, high = low - room, high + room
    low, high = (0.0, high - min(low, 0.0)) if low < 0 else (low, high)
    low, high = (low - (high - 100), 100.0) if high > 100 else (low, high)
    return max(low, 0.0), min(high, 100.0)


def _point(axes: Any, row: Summary, x: str, y: str, *, filled: bool, before: int, **style: str) -> None:
    """One on others is larger and below them: it is seen as a ring."""
    horizontal, vertical = row.figures[x], row.figures[y]
    axes.errorbar(
        [100 * horizontal.mean],
        [100 * vertical.mean],
        xerr=_bars(horizontal),
        yerr=_bars(vertical),
        markerfacecolor=style["color"] if filled else "none",
        markersize=6 + 5 * before,
        elinewidth=0.8,
        clip_on=False,
        zorder=3 - before / 100,
        **style,
    )


def _bars(figure: Figure) -> list[list[float]]:
    return [[100 * max(0.0, figure.mean - figure.low)], [100 * max(0.0, figure.high - figure.mean)]]
