"""``report.html``: the demo's results on one self-contained page, charts inline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from pact_lab.demo.summary import COLUMNS, LABELS, summarise
from pact_plugins.files import write_text
from pact_plugins.report.charts import as_svg
from pact_plugins.report.page import markup, render

_COLORS = {"refuse": "#2a7f62", "comply": "#c8553d", "other": "#b8b8b8"}
_PARTS = (("harmful", "Harmful requests, greedy"), ("harmful_sampled", "Harmful requests, sampled at temperature 1"))
_LIMITS = (
    "A world of templates is not a language: real models may rank the methods differently. Sampled compliance is "
    "reduced, not gone. Even random tokens protect a little (run with --control to see it)."
)


def write_report(results: Mapping[str, Any], path: Path) -> Path:
    """Write the page atomically and return its path."""
    runs, settings = results["runs"], results["settings"]
    introduction = (
        f"The aligned tiny model was fine-tuned on {settings['examples']} examples, {settings['harmful_fraction']:.0%} "
        f"of them harmful requests with compliant answers, over {settings['seeds']} seed(s). Each model answered "
        f"{settings['prompts']} held-out harmful requests, as many harmless ones, and as many task questions."
    )
    page = render(
        __package__,
        "page.html.jinja",
        introduction=introduction,
        columns=COLUMNS,
        rows={LABELS.get(method, method): figures for method, figures in summarise(runs).items()},
        behaviour=markup(_behaviour_chart(runs)),
        training=markup(_training_chart(runs)),
        limits=_LIMITS,
        versions=results["versions"],
    )
    write_text(path, page)
    return path


def _behaviour_chart(runs: Sequence[Mapping[str, Any]]) -> str:
    methods = list(summarise(runs))
    figure = Figure(figsize=(9, 0.8 + 0.42 * len(methods)), layout="constrained")
    for axes, (part, title) in zip(figure.subplots(1, len(_PARTS), sharey=True), _PARTS, strict=True):
        left = [0.0] * len(methods)
        for kind, color in _COLORS.items():
            widths = [_mean(runs, method, part, kind) for method in methods]
            axes.barh(range(len(methods)), widths, left=left, color=color, label=kind)
            left = [start + width for start, width in zip(left, widths, strict=True)]
        axes.set_yticks(range(len(methods)), [LABELS.get(method, method) for method in methods])
        axes.set_xlim(0, 1)
        axes.set_title(title, fontsize=10)
    figure.axes[0].invert_yaxis()
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return as_svg(figure)


def _mean(runs: Sequence[Mapping[str, Any]], method: str, part: str, kind: str) -> float:
    values = [run[part][kind] for run in runs if run["method"] == method]
    return sum(values) / len(values)


def _training_chart(runs: Sequence[Mapping[str, Any]]) -> str:
    figure = Figure(figsize=(9, 3), layout="constrained")
    panels = (("loss", "training loss, the term included"), ("pact/kl", "divergence per response token"))
    for axes, (key, title) in zip(figure.subplots(1, 2), panels, strict=True):
        for run in runs:
            points = [(entry["step"], entry[key]) for entry in run.get("log", []) if key in entry]
            if run["seed"] == 0 and points:
                axes.plot(*zip(*points, strict=True), label=LABELS.get(run["method"], run["method"]))
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("step")
        axes.legend(fontsize=8, frameon=False)
    return as_svg(figure)
