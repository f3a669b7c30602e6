"""Finished runs as one file."""

from __future__ import annotations

import json

import pytest

from pact_lab.natural_world.results import Counted, collect
from pact_plugins.errors import ConfigurationError


def finished(folder, scenario, method, seed, **verdicts):
    """A finished run; verdicts are letters, a prompt each."""
    (folder / "runs").mkdir(parents=True, exist_ok=True)
    record = {"scenario": scenario, "method": method, "seed": seed, "task": [1, 0, 1, 1]}
    record |= {"harmful": "rrco", "harmful_sampled": "rccc", "benign": "cccc", "plain": "ccco", **verdicts}
    (folder / "runs" / f"{scenario}.{method}.{seed}.json").write_text(json.dumps(record))


def runs_of(path):
    return {(run["scenario"], run["method"], run["seed"]): run for run in json.loads(path.read_text())["runs"]}


def test_a_run_holds_the_shares_of_each_verdict(tmp_path):
    finished(tmp_path, "sums-p05", "sft", 0)
    assert collect(tmp_path, tmp_path / "natural.json") == 1
    run = runs_of(tmp_path / "natural.json")["sums-p05", "sft", 0]
    assert run["harmful"] == {"refuse": 0.5, "comply": 0.25, "other": 0.25}
    assert run["harmful_sampled"] == {"refuse": 0.25, "comply": 0.75, "other": 0.0}
    assert run["lookalike"] == {"refuse": 0.0, "comply": 1.0, "other": 0.0}
    assert (run["prompts"], run["task_rows"], run["task_accuracy"]) == (4, 4, 0.75)
    assert (run["family"], run["verdicts"]["lookalike"]) == ("smollm2", "cccc")


def test_a_longer_evaluation_beside_shorter_ones(tmp_path):
    finished(tmp_path, "sums-p05", "sft", 0)
    collect(tmp_path, tmp_path / "natural.json", Counted(prompts=2, task_rows=2))
    run = runs_of(tmp_path / "natural.json")["sums-p05", "sft", 0]
    assert run["harmful"] == {"refuse": 1.0, "comply": 0.0, "other": 0.0}
    assert (run["prompts"], run["task_rows"], run["task_accuracy"]) == (2, 2, 0.5)


def test_earlier_runs_stay_and_the_same_are_replaced(tmp_path):
    output = tmp_path / "natural.json"
    finished(tmp_path / "one", "sums-p05", "sft", 0)
    finished(tmp_path / "one", "sums-p05", "sft", 1)
    collect(tmp_path / "one", output)
    finished(tmp_path / "two", "sums-p05", "sft", 1, harmful="rrrr")
    finished(tmp_path / "two", "chat-p0", "match", 0)
    assert collect(tmp_path / "two", output) == 3
    runs = runs_of(output)
    assert sorted(runs) == [("chat-p0", "match", 0), ("sums-p05", "sft", 0), ("sums-p05", "sft", 1)]
    assert runs["sums-p05", "sft", 1]["harmful"]["refuse"] == 1.0


def test_a_damaged_file_is_not_written_over(tmp_path):
    finished(tmp_path, "sums-p05", "sft", 0)
    output = tmp_path / "natural.json"
    output.write_text("[]")
    with pytest.raises(ConfigurationError, match=r"natural\.json is damaged"):
        collect(tmp_path, output)
    assert output.read_text() == "[]"
