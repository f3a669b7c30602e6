"""The table at the end of the demo: means and spreads, whole in a terminal of eighty columns."""

from __future__ import annotations

from io import StringIO
from typing import Any

from rich.console import Console

from pact_lab.demo.summary import LABELS, markdown_table, terminal_table


def outcome(method: str, seed: int, share: float) -> dict[str, Any]:
    answers = {"refuse": share, "comply": 1 - share, "other": 0.0}
    return {
        "method": method,
        "seed": seed,
        "harmful": answers,
        "harmful_sampled": answers,
        "benign": answers,
        "task_accuracy": share,
    }


def printed(runs: list[dict[str, Any]]) -> list[str]:
    written = StringIO()
    Console(file=written, width=80).print(terminal_table(runs))
    return written.getvalue().splitlines()


def test_the_widest_figures_fit_into_eighty_columns() -> None:
    lines = printed(
        [outcome(method, seed, share) for method in LABELS for seed, share in enumerate((0.97, 1.0, 0.985))]
    )
    assert "mean of 3 seeds" in lines[0]
    for heading, times in (("harmful", 2), ("sampled", 2), ("benign", 2), ("complied", 2), ("accuracy", 1)):
        assert sum(line.count(heading) for line in lines[2:4]) == times
    spreads = [line.count("(97-100)") for line in lines]
    assert sum(spreads) == 4 * len(LABELS)
    assert all(label.split()[0] in "".join(lines) for label in LABELS.values())


def test_one_seed_has_no_spread() -> None:
    lines = printed([outcome("sft", 0, 0.5)])
    assert "one seed" in lines[0]
    assert "(" not in "".join(lines)


def test_the_table_for_a_readme_keeps_a_figure_in_one_cell() -> None:
    table = markdown_table([outcome("match", 0, 0.5), outcome("match", 1, 0.7)]).splitlines()
    assert table[2].split("|")[1:3] == [" PACT match ", " 60 (50-70) "]
