"""Ratios are paired, three epochs count the building of the cache, and the plot varies one axis at a time."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from pact_lab.bench import runner
from pact_lab.bench.cases import (
    CACHED,
    CALIBRATION,
    MODES,
    NAIVE,
    ONLINE_FULL,
    ONLINE_LORA,
    PLAIN,
    PLAIN_LOGITS,
    REFERENCE_CHECK,
    WATCH,
    Case,
    grid,
)
from pact_lab.bench.profiles import breakdown
from pact_lab.bench.report import along, write_plots, write_table
from pact_lab.bench.rows import case_rows, is_measured, paired_ratio, with_preparation
from pact_plugins.files import write_json

CALIBRATED = {
    "mode": CALIBRATION,
    **asdict(Case()),
    "refusals": 8,
    "vocab_size": 9,
    "throughput_ratio": 6.25,
    "scoring_ratio": 1.5,
    "largest_difference": 1e-7,
}


def timing(factor, preparation=0.0):
    wall = [1.0 * factor, 4.0 * factor, 2.0 * factor]
    return {"epoch_steps": 5, "preparation": preparation, "wall": wall, "cpu": [2 * seconds for seconds in wall]}


def measured(case, factors):
    timings = {mode: timing(factors.get(mode, 1.0), 3.0 if mode == CACHED else 1.0) for mode in case.modes}
    memory = {mode: {"peak_bytes": 1000 if mode == PLAIN else 1500, "weight_bytes": 400} for mode in case.modes}
    return {"parameters": 7, "timings": timings}, memory


def test_a_slow_round_cancels_out():
    assert paired_ratio([2.0, 20.0, 2.0], [1.0, 10.0, 1.0]) == 2.0


def test_three_epochs_with_the_cache():
    # 15 steps at 2 s plain; cached 15 steps at 2.2 s and 2 s of building.
    assert with_preparation(timing(1.1, 3.0), timing(1.0, 1.0)) == pytest.approx((2 + 15 * 2.2) / 30)


@pytest.mark.parametrize("training", MODES)
def test_rows_of_a_case(training):
    case = replace(Case(), training=training)
    rows = {row["mode"]: row for row in case_rows(case, *measured(case, {CACHED: 1.02, PLAIN_LOGITS: 0.5, NAIVE: 0.9}))}
    assert list(rows) == list(case.modes)
    assert rows[PLAIN]["time_ratio"] == rows[PLAIN]["memory_ratio"] == 1.0
    assert rows[CACHED]["time_ratio"] == pytest.approx(1.02)
    assert rows[CACHED]["vocab_size"] == 131_072
    assert rows[CACHED]["memory_ratio"] == 1.5
    assert rows[NAIVE]["time_ratio_to_plain_logits"] == pytest.approx(1.8)
    assert rows[NAIVE]["memory_ratio_to_plain_logits"] == 1.0
    if training == "full":
        assert rows[ONLINE_FULL]["memory_ratio_without_copy"] == pytest.approx(1.1)


def test_a_check_is_told_in_steps(tmp_path):
    (case,) = grid("watch")
    rows = case_rows(case, *measured(case, {"watch": 2.0, "watch_greedy": 6.0}))
    write_table({"rows": rows, "conditions": {}}, tmp_path / "watch.md")
    text = (tmp_path / "watch.md").read_text()
    assert "one check takes 1.00 steps: 1.0200 every 50" in text
    assert "one check takes 5.00 steps: 1.1000 every 50" in text


def test_rows_from_before_accumulated_steps_were_measured_are_written(tmp_path):
    rows = case_rows(Case(), *measured(Case(), {}))
    for row in rows:
        del row["accumulation"]
    write_table({"rows": rows, "conditions": {}}, tmp_path / "old.md")
    assert "micro-batches a step" not in (tmp_path / "old.md").read_text()


def test_the_parts_of_guard_are_measured_at_the_centre_only():
    assert [case.parts for case in grid("cpu")] == [True, True, *[False] * 8]
    assert grid("cpu")[0].modes[-4:] == ("gate", "anchor", "default", "guard")


def test_llamafactory_has_modes_of_its_own():
    assert [case.modes for case in grid("llamafactory")] == [
        ("plain", "use_asft_loss", "online_lora"),
        ("plain", "use_asft_loss", "online_full"),
    ]


def test_the_grid_varies_one_axis_at_a_time():
    cases = grid("cpu")
    assert len({case.name for case in cases}) == len(cases)
    centre = cases[0]
    for case in cases[1:]:
        changed = [key for key in vars(case) if getattr(case, key) != getattr(centre, key)]
        assert len(set(changed) - {"batch_size", "training", "parts"}) <= 1, case


def test_table_and_plots(tmp_path):
    rows = [row for case in grid("cpu") for row in case_rows(case, *measured(case, {}))]
    results = {"rows": [*rows, CALIBRATED], "conditions": {"device": "CPU", "date": "2026-01-01"}}
    assert {row["vocab_size"] for row in along(rows, "vocab_size")} == {32_768, 131_072}
    assert {row["training"] for row in along(rows, "sequence_length")} == {"lora"}
    write_table(results, tmp_path / "table.md")
    table = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert "three epochs with building the cache" in table
    assert "6.2 times the throughput" in table
    assert "- device: CPU" in table
    write_plots(results, tmp_path / "plot.svg")
    assert "times plain" in (tmp_path / "plot.svg").read_text(encoding="utf-8")


def test_a_case_is_measured_once_all_its_modes_are():
    case = Case()
    rows = case_rows(case, *measured(case, {}))
    assert is_measured(rows, case)
    assert not is_measured(rows[:-1], case)
    assert not is_measured(rows, replace(case, safety_tokens=10))


@pytest.fixture
def finished(tmp_path):
    """The file of a whole grid, as if measured on this machine yesterday."""
    settings = runner.BenchSettings(tmp_path, "quick", steps=3, warmup=1)
    rows = [row for case in grid("quick") for row in case_rows(case, *measured(case, {}))]
    conditions = {**runner.conditions(settings), "date": "2026-01-01"}
    write_json(tmp_path / "quick.json", {"conditions": conditions, "rows": [*rows, CALIBRATED]})
    return settings


def test_an_interrupted_run_measures_only_what_is_missing(finished, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(runner, "_measure", lambda case, *_: asked.append(case) or case_rows(case, *measured(case, {})))
    content = json.loads((tmp_path / "quick.json").read_text(encoding="utf-8"))
    cases = grid("quick")
    kept = [row for row in content["rows"] if row.get("training") != cases[1].training]
    write_json(tmp_path / "quick.json", {**content, "rows": kept})
    results = runner.run(finished)
    assert asked == [cases[1]]
    assert all(is_measured(results["rows"], case) for case in cases)
    assert json.loads((tmp_path / "quick.json").read_text(encoding="utf-8"))["rows"] == results["rows"]
    assert (tmp_path / "quick.md").is_file()
    runner.run(finished)
    assert len(asked) == 1


def test_a_case_that_fails_keeps_no_other_from_being_measured(tmp_path, monkeypatch):
    first, second = grid("quick")

    def measure(case, *_):
        if case == first:
            raise runner.BenchError("too large for the card")
        return case_rows(case, *measured(case, {}))

    monkeypatch.setattr(runner, "_measure", measure)
    monkeypatch.setattr(runner, "_worker", lambda *_, **__: CALIBRATED)
    with pytest.raises(runner.BenchError, match="too large for the card"):
        runner.run(runner.BenchSettings(tmp_path, "quick", steps=3, warmup=1))
    rows = json.loads((tmp_path / "quick.json").read_text(encoding="utf-8"))["rows"]
    assert is_measured(rows, second)
    assert not is_measured(rows, first)


def test_unusual_cases_say_so_and_stay_off_the_axes(tmp_path):
    centre = Case()
    packed = replace(centre, sequence_length=4096, packing=True)
    large = replace(centre, training="full", size="medium", stateless=True)
    rows = [row for case in (centre, packed, large) for row in case_rows(case, *measured(case, {}))]
    assert {row["sequence_length"] for row in along(rows, "sequence_length")} == {centre.sequence_length}
    write_table({"rows": rows, "conditions": {}}, tmp_path / "table.md")
    table = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert table.count("short rows packed") == len(packed.modes)
    assert table.count("SGD, so that several models fit") == len(large.modes)
    assert (packed.kind, large.kind, centre.kind) == (" packing", " SGD", "")


def no_liger(content):
    """As before cases said whether Liger's kernels train."""
    for row in content["rows"]:
        del row["liger_kernel"]


@pytest.mark.parametrize(
    "change", [lambda content: content["conditions"].update(device="another"), dict.clear, no_liger]
)
def test_what_another_machine_measured_or_a_damaged_file_is_not_taken_over(finished, tmp_path, monkeypatch, change):
    content = json.loads((tmp_path / "quick.json").read_text(encoding="utf-8"))
    change(content)
    write_json(tmp_path / "quick.json", content)

    def stop(*_):
        raise runner.BenchError("asked to measure")

    monkeypatch.setattr(runner, "_measure", stop)
    monkeypatch.setattr(runner, "_worker", lambda *_, **__: CALIBRATED)
    with pytest.raises(runner.BenchError, match="2 measurements failed, all others are kept: asked to measure"):
        runner.run(finished)


def test_a_breakdown_begins_with_what_differs_most():
    plain, mode = {"mm": 4000.0, "copy": 1000.0}, {"mm": 5000.0, "copy": 1000.0, "embedding": 9000.0}
    lines = breakdown(plain, mode, steps=2).splitlines()
    assert lines[2] == "| `embedding` | 0.00 | 4.50 | +4.50 |"
    assert lines[3] == "| `mm` | 2.00 | 2.50 | +0.50 |"
    assert lines[-1] == "| `all operations` | 2.50 | 7.50 | +5.00 |"


def test_a_check_is_counted_in_steps_of_the_mode_that_does_not_check():
    case = Case(checks=True)
    factors = {ONLINE_LORA: 1.1, REFERENCE_CHECK: 1.32, WATCH: 1.5}
    rows = {row["mode"]: row for row in case_rows(case, *measured(case, factors))}
    assert rows[REFERENCE_CHECK]["check_steps"] == pytest.approx(0.2)
    assert rows[WATCH]["check_steps"] == pytest.approx(0.5)
    assert "check_steps" not in rows[ONLINE_LORA]
