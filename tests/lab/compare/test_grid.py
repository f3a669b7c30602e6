"""Cells, their keys and files; figures, tables and plots from recorded cells. Nothing is trained here."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pact_lab.compare.grid import Cell, grid, read, write
from pact_lab.compare.pareto import frontier
from pact_lab.compare.report import write_report
from pact_lab.compare.scenario import SCENARIOS, chosen_scenarios
from pact_lab.compare.statistics import summarise
from pact_lab.compare.table import markdown
from pact_lab.finetuning.tuning import Tuning
from pact_plugins.contracts import Method
from pact_plugins.errors import ConfigurationError
from pact_plugins.report.intervals import figure

METHOD = Method("sft", "plain")
SCENARIO = SCENARIOS["mixture-p05"]
CELL = Cell(0, {"model": "m"}, METHOD, SCENARIO)


@pytest.mark.parametrize(
    "other",
    [
        replace(CELL, seed=1),
        replace(CELL, subject={"model": "n"}),
        replace(CELL, method=Method("sft", "plain", {"top_k": 3})),
        replace(CELL, method=Method("sft", "plain", None, lambda rows, _: list(rows))),
        replace(CELL, scenario=replace(SCENARIO, harmful_fraction=0.06)),
        replace(CELL, scenario=replace(SCENARIO, tuning=Tuning(learning_rate=1e-4))),
        replace(CELL, method=None, scenario=None),
    ],
)
def test_keys_differ_with_settings(other):
    assert other.key != CELL.key


def test_keys_ignore_names_and_descriptions():
    renamed = replace(CELL, method=Method("other", "words"), scenario=replace(SCENARIO, name="x", description="y"))
    assert renamed.key == CELL.key


def test_scenarios_differ():
    assert len({replace(CELL, scenario=scenario).key for scenario in SCENARIOS.values()}) == len(SCENARIOS)
    with pytest.raises(ConfigurationError, match="mixture-p5"):
        chosen_scenarios(["mixture-p5"])


def test_a_cell_is_kept_and_found(tmp_path):
    assert read(CELL, tmp_path) is None
    record = write(CELL, tmp_path, {"harmful": "rc"})
    assert read(CELL, tmp_path) == record
    assert read(replace(CELL, seed=1), tmp_path) is None
    CELL.path(tmp_path).write_text("{", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="damaged"):
        read(CELL, tmp_path)


def test_the_grid_has_every_cell_once():
    cells = grid([METHOD, Method("b", "")], list(SCENARIOS.values())[:3], [4, 5], {})
    assert len(cells) == 2 + 2 * 3 * 2
    assert len({cell.label for cell in cells}) == len(cells)
    assert [cell.seed for cell in cells[2:]] == [4] * 6 + [5] * 6


def test_a_figure():
    found = figure([[1, 1, 0, 0], [1, 0, 0, 0]], higher_is_better=False)
    assert (found.mean, found.worst, found.seeds) == (0.375, 0.5, 2)
    assert found.low < found.mean < found.high
    assert figure([[1, 1, 0, 0], [1, 0, 0, 0]], higher_is_better=True).worst == 0.25
    assert figure([], higher_is_better=True) is None


def test_the_interval_has_the_width_of_the_binomial():
    values = [1.0] * 120 + [0.0] * 280
    found = figure([values], higher_is_better=False)
    half = 1.96 * (0.3 * 0.7 / 400) ** 0.5
    assert found.low == pytest.approx(0.3 - half, abs=0.006)
    assert found.high == pytest.approx(0.3 + half, abs=0.006)


def test_the_interval_knows_that_seeds_differ():
    alike = figure([[1.0] * 50 + [0.0] * 50] * 3, higher_is_better=False)
    apart = figure([[1.0] * 100, [0.0] * 100, [1.0] * 50 + [0.0] * 50], higher_is_better=False)
    assert alike.mean == apart.mean
    assert apart.high - apart.low > 3 * (alike.high - alike.low)


def test_the_frontier():
    points = [(0.0, 0.5), (0.1, 0.9), (0.2, 0.8), (0.1, 0.9), (0.5, 1.0)]
    assert frontier(points, higher_is_better=True) == [0, 1, 3, 4]
    assert frontier(points, higher_is_better=False) == [0]


@pytest.fixture
def records(tmp_path):
    outcome = {"harmful": "rrrr", "harmful_sampled": "rrcr", "benign": "cccr", "task": [1, 0, 1, 1]}
    aligned = write(Cell(0, {}), tmp_path / "cells", outcome)
    trained = [
        write(
            Cell(seed, {}, method, SCENARIO),
            tmp_path / "cells",
            {**outcome, "harmful_sampled": sampled, "train_seconds": 2.0 + seed},
        )
        for seed in (0, 1)
        for method, sampled in ((METHOD, "cccc"), (Method("guard", "", {}), "rrco"[: 4 - seed]))
    ]
    return [aligned, *trained]


def test_the_table(records):
    summaries = summarise(records)
    assert [(one.scenario, one.method, one.seeds) for one in summaries] == [
        ("aligned", "aligned", 1),
        ("mixture-p05", "sft", 2),
        ("mixture-p05", "guard", 2),
    ]
    assert summaries[1].figures["sampled"].mean == 1.0
    assert summaries[1].train_seconds == 2.5
    assert "known" not in summaries[1].figures
    lines = markdown(summaries, {"mixture-p05": "5 % poison"}).splitlines()
    assert "### mixture-p05" in lines
    assert "5 % poison." in lines
    header = next(line for line in lines if line.startswith("| | seeds"))
    rows = [line for line in lines if line.startswith(("| aligned", "| sft", "| guard"))]
    assert len(rows) == 3
    assert {line.count("|") for line in rows} == {header.count("|")}
    # None of 2 x 2 prompts, and all of them: Wilson's intervals.
    assert "| sft | 2 | 0.0 [0.0-49.0] 0.0 | 100.0 [51.0-100.0] 100.0 |" in rows[1]


def test_the_report(records, tmp_path):
    write_report(records, tmp_path, descriptions={"mixture-p05": "a < b"}, settings={"seeds": [0, 1]})
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {
        "results.json",
        "tables.md",
        "report.html",
        "pareto-mixture-p05.svg",
    }
    page = (tmp_path / "report.html").read_text()
    # In the page each panel is a chart of its own.
    assert page.count('<svg role="img" aria-label=') == 4
    assert "A &lt; b" in page
    assert "src=" not in page
    assert (tmp_path / "pareto-mixture-p05.svg").read_text().startswith("<svg")
