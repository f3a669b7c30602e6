"""The table at the end of the demo: means and spreads, whole in a terminal of eighty columns."""

from __future__ import annotations

import re
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import pytest

from pact_lab.demo.summary import LABELS, markdown_table, print_summary


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


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def printed(runs: list[dict[str, Any]]) -> list[str]:
    with redirect_stdout(Terminal()) as written:
        print_summary(runs)
    return re.sub("\x1b[^m]*m", "", written.getvalue()).splitlines()


def test_the_widest_figures_fit_into_eighty_columns() -> None:
    lines = printed(
        [outcome(method, seed, share) for method in LABELS for seed, share in enumerate((0.97, 1.0, 0.985))]
    )
    assert "mean of 3 seeds" in lines[0]
    assert max(map(len, lines)) <= 80
    for heading, times in (("harmful", 2), ("sampled", 2), ("benign", 2), ("complied", 2), ("accuracy", 1)):
        assert sum(line.count(heading) for line in lines[1:3]) == times
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
