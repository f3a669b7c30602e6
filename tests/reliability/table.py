"""The table of the last long run in ``benchmarks/reliability.md``; ``python -m tests.reliability.table`` writes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pact_lab.agreement.judging import replace_section
from pact_plugins.files import write_text
from pact_plugins.report.markdown import table

ROOT = Path(__file__).resolve().parents[2]
PAGE, RESULTS = ROOT / "benchmarks" / "reliability.md", ROOT / "benchmarks" / "results" / "reliability.json"


def as_markdown(results: Mapping[str, Mapping[str, int]]) -> str:
    """One row for each kind of input: how many, and what came of them."""
    rows = [
        (name, ", ".join(f"{count:,} {what.replace('_', ' ')}" for what, count in ordered(counts)))
        for name, counts in sorted(results.items())
        if not name.startswith("kills, ")
    ]
    return table(("inputs", "counts"), rows, texts=2)


def ordered(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """What was tried comes first."""
    return sorted(counts.items(), key=lambda item: (item[0] not in ("tried", "layouts"), item[0]))


def with_table(page: str, results: Mapping[str, Mapping[str, int]]) -> str:
    """The page with today's table between its marks."""
    return replace_section(page, "counts", as_markdown(results))


def main() -> None:
    """Write the table into the page."""
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    write_text(PAGE, with_table(PAGE.read_text(encoding="utf-8"), results))


if __name__ == "__main__":
    main()
