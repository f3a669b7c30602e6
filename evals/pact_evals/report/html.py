"""The report as one HTML page: no script, no other file, every text from a model escaped."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files

from jinja2 import Environment
from markupsafe import Markup

from pact_evals.report import charts, words
from pact_evals.report.comparison import Comparison
from pact_evals.report.markdown import judge_text
from pact_evals.report.training_log import Curves

_EXAMPLES = 40


def render_html(comparison: Comparison, training: Mapping[str, Curves]) -> str:
    """The page."""
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files(__package__).joinpath("page.html.jinja").read_text(encoding="utf-8"))
    tasks = list(dict.fromkeys(row.task for row in comparison.categories))
    by_category = {task: charts.compliance_by_category(comparison, task) for task in tasks}
    overview = charts.compliance_against_utility(comparison)
    return template.render(
        comparison=comparison,
        others=[label for label in comparison.labels if label != comparison.baseline],
        words=words,
        judges=dict.fromkeys(judge_text(judge) for judge in comparison.judges.values()),
        overview=Markup(overview) if overview else None,
        by_category={task: Markup(chart) for task, chart in by_category.items() if chart},
        drift={name: Markup(chart) for name, chart in charts.drift(training).items()},
        examples=comparison.changes[:_EXAMPLES],
        examples_left_out=max(0, len(comparison.changes) - _EXAMPLES),
    )
