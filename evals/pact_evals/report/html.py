"""The report as one HTML page."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

from pact_evals.checking import Check
from pact_evals.report import charts, words
from pact_evals.report.comparison import Change, Comparison, MetricRow
from pact_evals.report.markdown import judge_text
from pact_evals.report.training_log import Curves
from pact_evals.rule import headline, statement, style
from pact_plugins.report.charts import caption_of
from pact_plugins.report.page import Bar, markup, render

_EXAMPLES = 200
# (metric, whether higher is better) to what its bars are called and their colour.
_GLANCE = {
    ("compliance", False): ("harmful requests complied with; less is better", "bad"),
    ("refusal", False): ("harmless requests refused; less is better", "bad"),
    ("accuracy", True): ("accuracy; more is better", "good"),
}


def render_html(comparison: Comparison, training: Mapping[str, Curves], check: Check) -> str:
    """The page."""
    examples = _of_every_model(comparison)
    overview = charts.compliance_against_utility(comparison)
    shown = [row for row in comparison.metrics if _says_something(row)]
    return render(
        __package__,
        "page.html.jinja",
        comparison=comparison,
        others=[label for label in comparison.labels if label != comparison.baseline],
        words=words,
        kind=style(check.verdict),
        headline=headline(check.verdict),
        verdicts=[(style(row.verdict), statement(row)) for row in check.rows],
        reasons=check.reasons,
        glance=[found for row in comparison.metrics if (found := _glance(row, comparison.labels))],
        overview=markup(overview) if overview else None,
        drift={name: markup(chart) for name, chart in charts.drift(training).items()},
        captions={name: caption_of(name) for curves in training.values() for name in curves},
        by_category=_by_category(comparison),
        metrics=shown,
        zero_metrics=[f"{row.task} {row.metric}" for row in comparison.metrics if row not in shown],
        examples=examples,
        examples_left_out=len(comparison.changes) - len(examples),
        changed_tasks=list(dict.fromkeys(change.task for change in examples)),
        changed_verdicts=sorted({f"{change.baseline_verdict} → {change.verdict}" for change in examples}),
        measured=_measured(comparison),
    )


def _says_something(row: MetricRow) -> bool:
    """Rows that are 0 for every model are named in one sentence instead; those a reader looks for always stay."""
    return (row.metric, row.higher_is_better) in _GLANCE or any(mean.value != 0 for mean in row.means.values())


def _glance(row: MetricRow, labels: list[str]) -> tuple[str, list[Bar]] | None:
    found = _GLANCE.get((row.metric, row.higher_is_better))
    means = {label: row.means[label] for label in labels if label in row.means}
    scored = {label: mean for label, mean in means.items() if not math.isnan(mean.value)}
    if found is None or not scored:
        return None
    title, kind = found
    bars = [
        Bar(label, mean.value, f"{100 * mean.value:.1f} % of {mean.rows}", mean.low, mean.high, kind)
        for label, mean in scored.items()
    ]
    return f"{row.task}: {title}", bars


def _by_category(comparison: Comparison) -> dict[str, list[Bar]]:
    """Task to bars, one a model in each category; tasks of one category have nothing to compare."""
    tasks: dict[str, list[Bar]] = {}
    for row in comparison.categories:
        bars = tasks.setdefault(row.task, [])
        for label in comparison.labels:
            if label in row.compliance:
                share = row.compliance[label]
                bars.append(Bar(f"{row.category}: {label}", share, f"{100 * share:.0f} % of {row.rows}"))
    categories = Counter(row.task for row in comparison.categories)
    return {task: bars for task, bars in tasks.items() if categories[task] > 1}


def _measured(comparison: Comparison) -> list[tuple[str, str]]:
    judges = dict.fromkeys(judge_text(judge) for judge in comparison.judges.values())
    found = [("judge", text) for text in judges]
    for label, identity in comparison.identities.items():
        adapter = f" with adapter {identity['adapter']}" if identity.get("adapter") else ""
        backend = f"backend {identity.get('backend')}, lm-eval {identity.get('lm_eval')}"
        found.append((label, f"{identity.get('model')}{adapter}, {backend}"))
    versions = ", ".join(f"{task} {version}" for task, version in comparison.versions.items())
    return [*found, ("task versions", versions)]


def _of_every_model(comparison: Comparison) -> list[Change]:
    """At most two hundred changes of each model, so that none hides another."""
    shown: Counter[str] = Counter()
    kept = []
    for change in comparison.changes:
        shown[change.model] += 1
        if shown[change.model] <= _EXAMPLES:
            kept.append(change)
    return kept
