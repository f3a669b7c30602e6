"""The report as one HTML page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from pact_evals.checking import Check, statement
from pact_evals.report import charts, words
from pact_evals.report.comparison import Change, Comparison
from pact_evals.report.markdown import judge_text
from pact_evals.report.training_log import Curves
from pact_plugins.report.page import markup, render

_EXAMPLES = 40


def render_html(comparison: Comparison, training: Mapping[str, Curves], check: Check) -> str:
    """The page."""
    examples = _of_every_model(comparison)
    tasks = list(dict.fromkeys(row.task for row in comparison.categories))
    by_category = {task: charts.compliance_by_category(comparison, task) for task in tasks}
    overview = charts.compliance_against_utility(comparison)
    return render(
        __package__,
        "page.html.jinja",
        comparison=comparison,
        others=[label for label in comparison.labels if label != comparison.baseline],
        words=words,
        judges=dict.fromkeys(judge_text(judge) for judge in comparison.judges.values()),
        overview=markup(overview) if overview else None,
        by_category={task: markup(chart) for task, chart in by_category.items() if chart},
        drift={name: markup(chart) for name, chart in charts.drift(training).items()},
        check=check,
        verdicts=[*map(statement, check.rows), *check.reasons],
        examples=examples,
        examples_left_out=len(comparison.changes) - len(examples),
    )


def _of_every_model(comparison: Comparison) -> list[Change]:
    """At most forty changes of each model, so that none hides another."""
    shown: Counter[str] = Counter()
    kept = []
    for change in comparison.changes:
        shown[change.model] += 1
        if shown[change.model] <= _EXAMPLES:
            kept.append(change)
    return kept
