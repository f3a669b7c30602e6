"""The report as one HTML page."""

from __future__ import annotations

from pact_plugins.audit.report import words
from pact_plugins.audit.report.result import AuditReport
from pact_plugins.report.charts import COLORS, as_svg, new_figure
from pact_plugins.report.page import Bar, markup, render

_BINS = 40


def render_page(report: AuditReport, *, data: str) -> str:
    """The page; ``data`` names what was audited."""
    limit = report.threshold
    harmful, harmless = limit.hits, limit.false_positives
    return render(
        __package__,
        "page.html.jinja",
        report=report,
        data=data,
        words=words,
        kind="unsure" if report.flagged else "kept",
        headline=f"{len(report.flagged)} of {report.rows} rows flagged",
        rates=[
            Bar("harmful prompts", harmful.value, str(harmful), *harmful.interval, kind="good"),
            Bar("harmless prompts", harmless.value, str(harmless), *harmless.interval, kind="bad"),
            Bar("rows of this data", *_flagged_share(report)),
        ],
        histogram=markup(histogram(report)),
    )


def _flagged_share(report: AuditReport) -> tuple[float, str]:
    share = len(report.flagged) / report.scored if report.scored else 0.0
    return share, f"{len(report.flagged)} of {report.scored}"


def histogram(report: AuditReport) -> str:
    """SVG: rows by score, with the threshold; counts on a logarithmic axis, or a few poisoned rows would not show."""
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    scores = [score for score in report.scores if score is not None]
    figure, axes = new_figure(5.2, 3.2)
    axes.hist(scores, bins=[place / _BINS for place in range(_BINS + 1)], color=COLORS[0])
    limit = report.threshold.value
    axes.axvline(limit, color=COLORS[6], linestyle="--", label=f"threshold {limit:.4g}")
    axes.set(xlim=(0, 1), xlabel="refusal mass", ylabel="rows", yscale="log", ylim=(0.7, None))
    # Rows are counted: 1, 2, 5, 10 ... instead of powers and their multiples.
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.yaxis.set_minor_locator(NullLocator())
    # Above the bars, which reach everywhere else.
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0)
    told = f"rows by refusal mass: {len(report.flagged)} of {len(scores)} above {limit:.4g}"
    return as_svg(figure, told)
