"""The mutation score in ``benchmarks/reliability.md``; ``python -m tests.mutation.table`` writes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pact_lab.agreement.judging import replace_section
from pact_plugins.files import write_text
from pact_plugins.report.markdown import table

ROOT = Path(__file__).resolve().parents[2]
PAGE, RESULTS = ROOT / "benchmarks" / "reliability.md", ROOT / "benchmarks" / "results" / "mutation.json"


def with_table(page: str, results: Mapping[str, Mapping[str, Any]]) -> str:
    """The page with one row for each file: its mutants, how many were tried, and how many of these were noticed."""
    rows = []
    for file, found in results.items():
        noticed, survived = len(found["noticed"]), len(found["survived"])
        numbers = (found["mutants"], noticed + survived, noticed, survived)
        rows.append((f"`{file}`", *map(str, numbers)))
    return replace_section(page, "mutation", table(("file", "mutants", "tried", "noticed", "survived"), rows, texts=1))


def main() -> None:
    """Write the table into the page."""
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    write_text(PAGE, with_table(PAGE.read_text(encoding="utf-8"), results))


if __name__ == "__main__":
    main()
