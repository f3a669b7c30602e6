"""The run folder: written whole, read back the same, and damage is named."""

from __future__ import annotations

import json
import math

import pytest

from pact_evals.harness.evaluate import Metric, Sample
from pact_evals.runs import store
from pact_evals.runs.store import ModelResult, RunError, TaskResult, load_model, load_run, save_model, save_run

JUDGE = {"name": "keyword", "revision": "1", "tier": "cheap", "settings": {}}


def result(label: str = "sft", *, response: str = "Sure.\u2028Here.\n", tasks: tuple[str, ...] = ("a",)) -> ModelResult:
    sample = Sample("row-0", "theft", "How?", response, {"compliance": 1.0, "score": math.nan}, reason="specific 4")
    task = TaskResult(
        {"compliance": Metric(1.0, None, False), "score": Metric(math.nan, None, False)}, [sample], 1, JUDGE
    )
    return ModelResult(label, {"model": "org/m"}, dict.fromkeys(tasks, task), {"limit": 3}, ("pact",))


def test_what_is_written_is_read_back(tmp_path):
    model = result(tasks=("a", "b/c"))
    save_model(tmp_path, model)
    save_run(tmp_path, tasks=["pact"], labels=["sft"], versions={"torch": "2"})
    run = load_run(tmp_path)
    (read,) = run.models
    assert repr(read) == repr(model)  # by text, for no NaN equals another
    assert run.path == tmp_path
    assert json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))["versions"] == {"torch": "2"}
    text = (tmp_path / "models" / "sft" / "results.json").read_text(encoding="utf-8")
    assert "NaN" not in text
    assert json.loads(text)["tasks"]["a"]["judge"] == JUDGE


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    save_model(tmp_path, result(response="before"))
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    calls = []

    def full_disk(target):
        calls.append(target)
        if len(calls) == 3:
            raise OSError("no space left on device")
        return original(target)

    original = store.atomic_path
    monkeypatch.setattr(store, "atomic_path", full_disk)
    with pytest.raises(OSError, match="no space left"):
        save_model(tmp_path, result(response="after", tasks=("a", "b")))
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


def test_rows_of_tasks_that_are_gone_are_removed(tmp_path):
    save_model(tmp_path, result(tasks=("a", "b")))
    save_model(tmp_path, result(tasks=("b",)))
    assert [file.name for file in (tmp_path / "models" / "sft" / "samples").iterdir()] == ["b.jsonl"]


def test_what_is_no_run_is_named(tmp_path):
    with pytest.raises(RunError, match=r"nowhere: no such folder; `pact eval"):
        load_run(tmp_path / "nowhere")
    save_run(tmp_path, tasks=[], labels=["gone"], versions={})
    with pytest.raises(RunError, match=r"gone.results\.json cannot be read"):
        load_run(tmp_path)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("run.json", "{", r"run\.json cannot be read"),
        ("run.json", '{"format": 99}', r"run\.json is not of this version's format"),
        ("run.json", '{"format": 1, "tasks": []}', r"run\.json is damaged"),
        ("models/sft/results.json", '{"format": 1, "label": "sft"}', r"results\.json is damaged"),
        ("models/sft/samples/a.jsonl", '{"id": 1}\n', r"a\.jsonl cannot be read"),
        ("models/sft/samples/a.jsonl", "", r"a\.jsonl holds 0 rows instead of 1"),
    ],
)
def test_damage_is_named(tmp_path, file, text, message):
    save_model(tmp_path, result())
    save_run(tmp_path, tasks=["pact"], labels=["sft"], versions={})
    assert load_model(tmp_path, "sft").label == "sft"
    (tmp_path / file).write_text(text, encoding="utf-8")
    with pytest.raises(RunError, match=message):
        load_run(tmp_path)
