"""Runs, their keys and files; figures, tables and plots from recorded runs. Nothing is trained here."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pact_lab.compare.grid import Run, grid, read, write
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
RUN = Run(0, {"model": "m"}, METHOD, SCENARIO)


@pytest.mark.parametrize(
    "other",
    [
        replace(RUN, seed=1),
        replace(RUN, subject={"model": "n"}),
        replace(RUN, method=Method("sft", "plain", {"top_k": 3})),
        replace(RUN, method=Method("sft", "plain", None, lambda rows, _: list(rows))),
        replace(RUN, scenario=replace(SCENARIO, harmful_fraction=0.06)),
        replace(RUN, scenario=replace(SCENARIO, tuning=Tuning(learning_rate=1e-4))),
        replace(RUN, method=None, scenario=None),
    ],
)
def test_keys_differ_with_settings(other):
    assert other.key != RUN.key


def test_keys_ignore_names_and_descriptions():
    renamed = replace(RUN, method=Method("other", "words"), scenario=replace(SCENARIO, name="x", description="y"))
    assert renamed.key == RUN.key


def test_scenarios_differ():
    assert len({replace(RUN, scenario=scenario).key for scenario in SCENARIOS.values()}) == len(SCENARIOS)
    with pytest.raises(ConfigurationError, match="mixture-p5"):
        chosen_scenarios(["mixture-p5"])


def test_a_run_is_kept_and_found(tmp_path):
    assert read(RUN, tmp_path) is None
    record = write(RUN, tmp_path, {"harmful": "rc"})
    assert read(RUN, tmp_path) == record
    assert read(replace(RUN, seed=1), tmp_path) is None
    RUN.path(tmp_path).write_text("{", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="damaged"):
        read(RUN, tmp_path)


def test_the_grid_has_every_run_once():
    runs = grid([METHOD, Method("b", "")], list(SCENARIOS.values())[:3], [4, 5], {})
    assert len(runs) == 2 + 2 * 3 * 2
    assert len({run.label for run in runs}) == len(runs)
    assert [run.seed for run in runs[2:]] == [4] * 6 + [5] * 6


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
    aligned = write(Run(0, {}), tmp_path / "runs", outcome)
    trained = [
        write(
            Run(seed, {}, method, SCENARIO),
            tmp_path / "runs",
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
