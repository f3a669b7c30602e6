"""What a comparison leaves behind: ``results.json``, ``tables.md``, a plot for each scenario, ``report.html``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from pact_lab.compare.grid import ALIGNED, Record
from pact_lab.compare.pareto import plot
from pact_lab.compare.statistics import COLUMNS, Summary, summarise
from pact_lab.compare.table import audit_table, markdown, text
from pact_plugins.files import write_json, write_text

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:75rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;width:100%;font-size:.85rem}"
    "th,td{border-bottom:1px solid #ddd;padding:.35rem .5rem;text-align:right}"
    "th:first-child,td:first-child{text-align:left}svg{max-width:100%;height:auto}"
)


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
    write_text(folder / "report.html", _page(summaries, plots, descriptions))
    return summaries


def _page(summaries: Sequence[Summary], plots: Mapping[str, str], descriptions: Mapping[str, str]) -> str:
    head = "".join(f"<th>{escape(column.heading)}</th>" for column in COLUMNS)
    sections = [
        f"<h2>{escape(scenario)}</h2><p>{escape(descriptions.get(scenario, ''))}</p>"
        f"<table><thead><tr><th></th><th>seeds</th>{head}</tr></thead><tbody>"
        + "".join(_row(summary) for summary in summaries if summary.scenario in (ALIGNED, scenario))
        + f"</tbody></table>{image}"
        for scenario, image in plots.items()
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>PACT comparison</title>'
        f"<style>{_STYLE}</style></head><body><h1>Comparison</h1><p>In %: mean over the seeds "
        "[95 % interval, seeds and prompts resampled] worst seed.</p>" + "".join(sections) + "</body></html>\n"
    )


def _row(summary: Summary) -> str:
    cells = "".join(f"<td>{escape(text(summary.figures.get(column.name)))}</td>" for column in COLUMNS)
    return f"<tr><td>{escape(summary.method)}</td><td>{summary.seeds}</td>{cells}</tr>"
