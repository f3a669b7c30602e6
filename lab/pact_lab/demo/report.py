"""``report.html``: the demo's results on one self-contained page, charts inline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pact_evals.rule import statement, style
from pact_lab.demo.summary import COLUMNS, LABELS, summarise
from pact_lab.outcomes import Judged, judged
from pact_plugins.files import write_text
from pact_plugins.report.charts import COLORS, as_svg, caption_of, new_figure
from pact_plugins.report.page import Stack, markup, render

_PARTS = (("harmful", "Greedy"), ("harmful_sampled", "Sampled at temperature 1"))
_PANELS = (("loss", "training loss, the term included"), ("pact/kl", "divergence per response token"))
_FIRST = ("gate_anchor", "sft")  # in the box
_HEADLINE = ("sft", "gate_anchor")
_LIMITS = (
    "A benchmark of templates is not a language: real models may rank the methods differently. Sampled compliance is "
    "reduced, not gone. Even random tokens protect a little (run with --control to see it)."
)


def write_report(results: Mapping[str, Any], path: Path) -> Path:
    """Write the page atomically and return its path."""
    runs, settings = results["runs"], results["settings"]
    share = f"{100 * settings['harmful_fraction']:.3g} %"
    introduction = (
        f"The aligned tiny model was fine-tuned on {settings['examples']} examples, {share} of them harmful requests "
        f"with compliant answers, with {_seeds(settings['seeds'])}. Each model answered {settings['prompts']} held-out "
        "harmful requests, as many harmless ones, and as many task questions."
    )
    verdicts = _verdicts(runs)
    page = render(
        __package__,
        "page.html.jinja",
        kind=next((style(one.verdict) for one in verdicts.values()), ""),
        headline=_headline(verdicts),
        verdicts=[(style(row.verdict), statement(row)) for one in verdicts.values() for row in one.rows],
        introduction=introduction,
        columns=COLUMNS,
        rows={LABELS.get(method, method): figures for method, figures in summarise(runs).items()},
        behaviour={title: _stacks(runs, part) for part, title in _PARTS},
        training={caption_of(key): markup(chart) for key, axis in _PANELS if (chart := _curves(runs, key, axis))},
        limits=_LIMITS,
        settings_shown=[*settings.items(), *results["versions"].items()],
    )
    write_text(path, page)
    return path


def _seeds(count: int) -> str:
    return "one seed" if count == 1 else f"{count} seeds"


def _verdicts(runs: Sequence[Mapping[str, Any]]) -> dict[str, Judged]:
    """Of every trained method what became of the refusals; plain fine-tuning and the default preset first."""
    methods = [method for method in summarise(runs) if method != "aligned"]
    methods.sort(key=lambda method: _FIRST.index(method) if method in _FIRST else len(_FIRST))
    answers: dict[str, dict[int, Any]] = {method: {} for method in ("aligned", *methods)}
    for run in runs:
        answers[run["method"]][run["seed"]] = run["answers"]
    return {method: judged(LABELS.get(method, method), answers["aligned"], answers[method]) for method in methods}


def _headline(verdicts: Mapping[str, Judged]) -> str:
    parts = [f"{LABELS[method]} {verdicts[method].verdict}" for method in _HEADLINE if method in verdicts]
    return f"Refusals: {', '.join(parts)}" if parts else "Nothing was trained"


def _stacks(runs: Sequence[Mapping[str, Any]], part: str) -> list[Stack]:
    rows = []
    for method in summarise(runs):
        shares = {kind: _mean(runs, method, part, kind) for kind in ("refuse", "other", "comply")}
        text = f"{100 * shares['refuse']:.0f} % refused, {100 * shares['comply']:.0f} % complied"
        parts = (("good", shares["refuse"]), ("other", shares["other"]), ("bad", shares["comply"]))
        rows.append(Stack(LABELS.get(method, method), parts, text))
    return rows


def _mean(runs: Sequence[Mapping[str, Any]], method: str, part: str, kind: str) -> float:
    values = [run[part][kind] for run in runs if run["method"] == method]
    return sum(values) / len(values)


def _curves(runs: Sequence[Mapping[str, Any]], key: str, caption: str) -> str | None:
    """Of the first seed; None where nobody logged it."""
    figure, axes = new_figure(5.2, 3.0)
    first = [run for run in runs if run["seed"] == 0]
    logged = {run["method"]: [(e["step"], e[key]) for e in run.get("log", []) if key in e] for run in first}
    curves = {method: points for method, points in logged.items() if points}
    for index, (method, points) in enumerate(curves.items()):
        axes.plot(*zip(*points, strict=True), label=LABELS.get(method, method), color=COLORS[index % len(COLORS)])
    if not curves:
        return None
    axes.set(xlabel="step", ylabel=caption)
    axes.legend(fontsize=9, frameon=False)
    ends = [f"{LABELS.get(method, method)} ends at {points[-1][1]:.3g}" for method, points in curves.items()]
    return as_svg(figure, f"{caption}: {', '.join(ends)}")
