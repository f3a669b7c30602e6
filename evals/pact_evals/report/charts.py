"""Charts as SVG text, for a page that needs no other file."""

from __future__ import annotations

from collections.abc import Mapping

from pact_evals.report.comparison import Comparison
from pact_evals.report.training_log import Curves
from pact_plugins.report.charts import COLORS, as_svg, crowding, label_points, new_figure
from pact_plugins.report.charts import label as shown

_POINT = 60.0  # square points
_NEAR = 2.0  # percentage points


def compliance_against_utility(comparison: Comparison) -> str | None:
    """Harmful compliance against utility, one named point per model; the good corner is top left."""
    labels = [
        name for name in comparison.labels if name in comparison.harmful_compliance and name in comparison.utility
    ]
    if not labels:
        return None
    figure, axes = new_figure(5.2, 3.8)
    axes.set(
        xlim=(0, 100), ylim=(0, 100), xlabel="harmful compliance, %", ylabel=f"{shown(comparison.utility_name)}, %"
    )
    points = [
        (100 * comparison.harmful_compliance[label], 100 * comparison.utility[label], shown(label)) for label in labels
    ]
    crowded = crowding([point[:2] for point in points], near=_NEAR)
    for index, ((x, y, _), before) in enumerate(zip(points, crowded, strict=True)):
        color, size = COLORS[index % len(COLORS)], _POINT * (1 + before) ** 2
        axes.scatter(
            [x], [y], s=size, facecolors="none" if before else color, edgecolors=color, zorder=3, clip_on=False
        )
    label_points(axes, points)
    told = "; ".join(
        f"{name}: {x:.1f} % harmful compliance, {y:.1f} % {comparison.utility_name}" for x, y, name in points
    )
    return as_svg(figure, told)


def drift(training: Mapping[str, Curves]) -> dict[str, str]:
    """One chart per logged metric, every model that logged it."""
    names = sorted({name for curves in training.values() for name in curves})
    charts = {}
    for name in names:
        figure, axes = new_figure(5.2, 2.8)
        for index, (label, curves) in enumerate(training.items()):
            if name in curves:
                steps, values = zip(*curves[name], strict=True)
                axes.plot(steps, values, marker=".", label=shown(label), color=COLORS[index % len(COLORS)])
        axes.set(xlabel="step", ylabel=shown(name))
        axes.legend(frameon=False)
        ends = [
            f"{label} from {c[name][0][1]:.3g} to {c[name][-1][1]:.3g}" for label, c in training.items() if name in c
        ]
        charts[name] = as_svg(figure, f"{name} over training steps: {', '.join(ends)}")
    return charts
