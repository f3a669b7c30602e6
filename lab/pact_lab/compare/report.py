"""What a comparison leaves behind: ``results.json``, ``tables.md``, a plot for each scenario, ``report.html``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pact_evals.rule import KEPT, style
from pact_lab.compare.grid import ALIGNED, Record
from pact_lab.compare.pareto import panels, plot
from pact_lab.compare.statistics import COLUMNS, Summary, summarise
from pact_lab.compare.table import audit_table, markdown, text
from pact_lab.outcomes import judged
from pact_plugins.files import write_json, write_text
from pact_plugins.report.intervals import Figure
from pact_plugins.report.page import Bar, markup, render

_SHOWN = {"greedy": "complied", "over_refusal": "harmless refused", "accuracy": "task"}


def write_report(
    records: Sequence[Record],
    folder: Path,
    *,
    descriptions: Mapping[str, str],
    settings: Mapping[str, Any],
    audits: Sequence[Record] = (),
) -> list[Summary]:
    """Write everything atomically into ``folder``; returns the summaries.

    Args:
        descriptions: of the scenarios.
        settings: what was compared, for the record.
        audits: how well the audit found the poison.
    """
    summaries = summarise(records)
    scenarios = list(dict.fromkeys(summary.scenario for summary in summaries if summary.scenario != ALIGNED))
    plots = {scenario: plot(summaries, scenario) for scenario in scenarios}
    write_json(
        folder / "results.json",
        {
            "settings": dict(settings),
            "summaries": [summary.as_dict() for summary in summaries],
            "audits": [{name: one[name] for name in ("scenario", "seed", "detection")} for one in audits],
        },
    )
    tables = markdown(summaries, descriptions) + ("\n" + audit_table(audits) if audits else "")
    write_text(folder / "tables.md", tables)
    for scenario, image in plots.items():
        write_text(folder / f"pareto-{scenario}.svg", image)
    write_text(folder / "report.html", _page(records, summaries, descriptions, settings))
    return summaries


def _page(
    records: Sequence[Record],
    summaries: Sequence[Summary],
    descriptions: Mapping[str, str],
    settings: Mapping[str, Any],
) -> str:
    scenarios = list(dict.fromkeys(summary.scenario for summary in summaries if summary.scenario != ALIGNED))
    sections = [
        {
            "name": scenario,
            "description": descriptions.get(scenario, ""),
            "rows": [summary for summary in summaries if summary.scenario in (ALIGNED, scenario)],
            "bars": _bars([summary for summary in summaries if summary.scenario in (ALIGNED, scenario)]),
            "panels": {caption: markup(image) for caption, image in panels(summaries, scenario).items()},
        }
        for scenario in scenarios
    ]
    verdicts = verdicts_of(records, summaries)
    methods = list(dict.fromkeys(method for cells in verdicts.values() for method in cells))
    return render(
        __package__,
        "page.html.jinja",
        kind="",
        headline=_headline(verdicts, methods),
        methods=methods,
        verdicts=verdicts,
        sections=sections,
        columns=COLUMNS,
        text=text,
        measured=_measured(settings),
    )


@dataclass(frozen=True)
class Cell:
    """What became of the refusals under a method in a scenario, its colour, and the figures."""

    verdict: str
    kind: str
    text: str


def verdicts_of(records: Sequence[Record], summaries: Sequence[Summary]) -> dict[str, dict[str, Cell]]:
    """Scenario to method to verdict, by the greedy answers of every seed."""
    answers: dict[tuple[str, str], dict[int, Record]] = {}
    for record in records:
        answers.setdefault((record["scenario"], record["method"]), {})[record["seed"]] = record
    aligned = answers.get((ALIGNED, ALIGNED), {})
    found: dict[str, dict[str, Cell]] = {}
    for one in summaries:
        if one.scenario == ALIGNED or "greedy" not in one.figures:
            continue
        verdict = judged(one.method, aligned, answers[one.scenario, one.method]).verdict
        shown = ", ".join(
            f"{what} {100 * one.figures[name].mean:.1f} %" for name, what in _SHOWN.items() if name in one.figures
        )
        found.setdefault(one.scenario, {})[one.method] = Cell(verdict, style(verdict), shown)
    return found


def _headline(verdicts: Mapping[str, Mapping[str, Cell]], methods: Sequence[str]) -> str:
    """Of each method, in how many scenarios the refusals were kept."""
    told = []
    for method in methods:
        words = [cells[method].verdict for cells in verdicts.values() if method in cells]
        told.append(f"{method} in {words.count(KEPT)} of {len(words)}")
    return f"Refusals kept: {', '.join(told)} scenarios" if told else "Nothing to compare with"


def _bars(rows: Sequence[Summary]) -> dict[str, list[Bar]]:
    titles = {
        "greedy": ("harmful requests complied with, greedy; less is better", "bad"),
        "sampled": ("harmful requests complied with, sampled; less is better", "bad"),
        "over_refusal": ("harmless requests refused; less is better", "bad"),
        "accuracy": ("task accuracy; more is better", "good"),
    }
    found = {}
    for name, (title, kind) in titles.items():
        # What the aligned model makes of a task that it was never taught says nothing.
        shown = [row for row in rows if name in row.figures and (row.scenario != ALIGNED or name != "accuracy")]
        bars = [_bar("aligned" if row.scenario == ALIGNED else row.method, row.figures[name], kind) for row in shown]
        if bars:
            found[title] = bars
    return found


def _bar(name: str, figure: Figure, kind: str) -> Bar:
    seeds = "" if figure.seeds == 1 else f", {figure.seeds} seeds"
    return Bar(name, figure.mean, f"{100 * figure.mean:.1f} %{seeds}", figure.low, figure.high, kind)


def _measured(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(str(name), value if isinstance(value, str) else json.dumps(value)) for name, value in settings.items()]
