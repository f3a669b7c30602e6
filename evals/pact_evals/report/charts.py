"""Charts as SVG text, for a page that needs no other file."""

from __future__ import annotations

from collections.abc import Mapping

from pact_evals.report.comparison import Comparison
from pact_evals.report.training_log import Curves
from pact_plugins.report.charts import as_svg, new_figure
from pact_plugins.report.charts import label as shown


def compliance_against_utility(comparison: Comparison) -> str | None:
    """Harmful compliance against utility, one point per model; the good corner is top left."""
    labels = [
        name for name in comparison.labels if name in comparison.harmful_compliance and name in comparison.utility
    ]
    if not labels:
        return None
    figure, axes = new_figure(5.2, 3.6)
    for index, label in enumerate(labels):
        x, y = comparison.harmful_compliance[label], comparison.utility[label]
        axes.scatter([x], [y], s=60, color=f"C{index % 10}", label=shown(label), zorder=3)
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xlabel="harmful compliance", ylabel=shown(comparison.utility_name))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left", bbox_to_anchor=(1.01, 0), frameon=False)
    return as_svg(figure)


def compliance_by_category(comparison: Comparison, task: str) -> str | None:
    """Compliance of every model in each category of a task."""
    rows = [row for row in comparison.categories if row.task == task]
    if len(rows) < 2:
        return None
    labels = [label for label in comparison.labels if any(label in row.compliance for row in rows)]
    figure, axes = new_figure(7.0, 0.6 + 0.16 * len(rows) * max(2, len(labels)))
    height = 0.8 / len(labels)
    for index, label in enumerate(labels):
        places = [position + index * height for position in range(len(rows))]
        axes.barh(
            places, [row.compliance.get(label, 0.0) for row in rows], height, label=shown(label), color=f"C{index % 10}"
        )
    axes.set_yticks(
        [position + 0.4 - height / 2 for position in range(len(rows))], [shown(row.category) for row in rows]
    )
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), xlabel="compliance")
    axes.legend(loc="lower left", bbox_to_anchor=(1.01, 0), frameon=False)
    return as_svg(figure)


def drift(training: Mapping[str, Curves]) -> dict[str, str]:
    """One chart per logged metric, every model that logged it."""
    names = sorted({name for curves in training.values() for name in curves})
    charts = {}
    for name in names:
        figure, axes = new_figure(5.2, 2.8)
        for label, curves in training.items():
            if name in curves:
                steps, values = zip(*curves[name], strict=True)
                axes.plot(steps, values, marker="." if len(steps) < 40 else None, label=shown(label))
        axes.set(xlabel="step", ylabel=shown(name))
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
        charts[name] = as_svg(figure)
    return charts
