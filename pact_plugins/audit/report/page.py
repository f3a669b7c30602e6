"""The report as one HTML page: no script, no other file, every text from the data escaped."""

from __future__ import annotations

from importlib.resources import files

from jinja2 import Environment
from markupsafe import Markup

from pact_plugins.audit.report import words
from pact_plugins.audit.report.result import AuditReport
from pact_plugins.report.charts import as_svg, new_figure

_BINS = 40


def render_page(report: AuditReport, *, data: str) -> str:
    """The page; ``data`` names what was audited."""
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files(__package__).joinpath("page.html.jinja").read_text(encoding="utf-8"))
    return template.render(report=report, data=data, words=words, histogram=Markup(histogram(report)))


def histogram(report: AuditReport) -> str:
    """SVG: rows by score, with the threshold; counts on a logarithmic axis, or a few poisoned rows would not show."""
    scores = [score for score in report.scores if score is not None]
    figure, axes = new_figure(7.0, 3.0)
    axes.hist(scores, bins=[place / _BINS for place in range(_BINS + 1)], color="C0")
    axes.axvline(report.threshold.value, color="C3", linestyle="--", label=f"threshold {report.threshold.value:.4g}")
    axes.set(xlim=(0, 1), xlabel="refusal mass", ylabel="rows", yscale="log", ylim=(0.7, None))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return as_svg(figure)
