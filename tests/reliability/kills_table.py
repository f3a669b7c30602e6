"""The table of kills in ``benchmarks/reliability.md``; ``python -m tests.reliability.kills_table`` writes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pact_plugins.files import write_text

ROOT = Path(__file__).resolve().parents[2]
PAGE, RESULTS = ROOT / "benchmarks" / "reliability.md", ROOT / "benchmarks" / "results" / "reliability.json"
_BEGIN, _END = "<!-- kills:begin -->\n", "<!-- kills:end -->"
_MOMENTS = ("starting", "building", "training", "saving")


def with_table(page: str, results: Mapping[str, Mapping[str, int]]) -> str:
    """The page with the counts of the last long run between its marks: a row for each framework and mode."""
    lines = [
        "| framework | trained | mode | kills | while " + " | ".join(_MOMENTS) + " | half-written checkpoints |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, counts in sorted(results.items()):
        _, *named = name.split(", ")
        if name.startswith("kills, ") and len(named) == 3:
            moments = [counts.get(f"killed while {moment}", 0) for moment in _MOMENTS]
            numbers = [counts["kills"], *moments, counts["checkpoints left half-written"]]
            lines.append("| " + " | ".join([*named, *map(str, numbers)]) + " |")
    head, rest = page.split(_BEGIN)
    return head + _BEGIN + "\n".join(lines) + "\n" + _END + rest.split(_END)[1]


def main() -> None:
    """Write the table into the page."""
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    write_text(PAGE, with_table(PAGE.read_text(encoding="utf-8"), results))


if __name__ == "__main__":
    main()
