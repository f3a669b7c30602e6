"""What a comparison leaves behind: ``results.json``, ``tables.md``, a plot for each scenario, ``report.html``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pact_lab.compare.grid import ALIGNED, Record
from pact_lab.compare.pareto import plot
from pact_lab.compare.statistics import COLUMNS, Summary, summarise
from pact_lab.compare.table import audit_table, markdown, text
from pact_plugins.files import write_json, write_text
from pact_plugins.report.page import markup, render


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
    sections = [
        {
            "name": scenario,
            "description": descriptions.get(scenario, ""),
            "rows": [summary for summary in summaries if summary.scenario in (ALIGNED, scenario)],
            "plot": markup(image),
        }
        for scenario, image in plots.items()
    ]
    return render(__package__, "page.html.jinja", sections=sections, columns=COLUMNS, text=text)
