"""The report as one HTML page."""

from __future__ import annotations

from pact_plugins.audit.report import words
from pact_plugins.audit.report.result import AuditReport
from pact_plugins.report.charts import as_svg, new_figure
from pact_plugins.report.page import markup, render

_BINS = 40


def render_page(report: AuditReport, *, data: str) -> str:
    """The page; ``data`` names what was audited."""
    return render(
        __package__, "page.html.jinja", report=report, data=data, words=words, histogram=markup(histogram(report))
    )


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
