"""lm-eval's folder read: the newest result of each task, one model's under one label, damage named."""

from __future__ import annotations

import json
import shutil

import pytest

from pact_evals.runs.store import DamagedRunError, RunError, load_run
from tests.helpers.evaluated import labels, model, write


def changed(folder, label, date=None, **keys):
    """Another results file of the same folder, later; its rows are those of the first."""
    (file,) = (folder / label).glob("results_*.json")
    content = json.loads(file.read_text(encoding="utf-8")) | keys
    old = file.name.removeprefix("results_").removesuffix(".json")
    for rows in (folder / label).glob(f"samples_*_{old}.jsonl") if date else ():
        shutil.copy(rows, rows.with_name(rows.name.replace(old, date)))
    (file.with_name(f"results_{date}.json") if date else file).write_text(json.dumps(content), encoding="utf-8")


def test_what_is_written_is_read_back(tmp_path):
    models = [model("b", labels(8, compliance=1), labels(8, refusal=1)), model("a", labels(4, empty=2), labels(4))]
    found = load_run(write(tmp_path, *models))
    assert [one.label for one in found] == ["b", "a"]  # as they were evaluated
    assert [one.tasks for one in found] == [one.tasks for one in models]


def test_the_newest_result_counts_and_other_weights_replace_the_whole(tmp_path):
    write(tmp_path, model("m", labels(8, compliance=1), labels(8)))
    later = "2026-02-01T00-00-00.000000"
    (file,) = (tmp_path / "m").glob("results_*.json")
    configs = json.loads(file.read_text(encoding="utf-8"))["configs"]
    half = {"configs": {"pact_refusal": configs["pact_refusal"]}, "versions": {"pact_refusal": 3}}
    changed(tmp_path, "m", later, **half)
    (found,) = load_run(tmp_path)
    assert {name: task.version for name, task in found.tasks.items()} == {"pact_refusal": 3, "pact_overrefusal": 2}
    others = {"pact": {"label": "m", "identity": {"model": "m", "weights": "others"}, "settings": {}}}
    changed_again = json.loads((tmp_path / "m" / f"results_{later}.json").read_text(encoding="utf-8")) | others
    (tmp_path / "m" / f"results_{later}.json").write_text(json.dumps(changed_again), encoding="utf-8")
    (found,) = load_run(tmp_path)
    assert list(found.tasks) == ["pact_refusal"]


def test_of_the_stock_command(tmp_path):
    write(tmp_path, model("m", labels(4, compliance=1), labels(4)))
    arguments = {"pretrained": "org/base", "peft": "out/tuned", "token": "hf_abcdefghijk", "dtype": "bfloat16"}
    stock = {"pact": None, "model_name": "out/tuned", "config": {"model": "hf", "model_args": arguments, "limit": 4}}
    changed(tmp_path, "m", **stock, chat_template_sha="abc")
    (found,) = load_run(tmp_path)
    assert found.label == "tuned"
    assert (found.identity["model"], found.identity["adapter"]) == ("org/base", "out/tuned")
    assert found.identity["arguments"] == {"token": "***", "dtype": "bfloat16"}
    assert found.settings == {"limit": 4, "chat_template": "abc", "system_instruction": None}


def test_what_is_no_run_is_named(tmp_path):
    with pytest.raises(RunError, match=r"nowhere: no such folder; `pact eval"):
        load_run(tmp_path / "nowhere")
    (tmp_path / "settings_2026.json").write_text("{}")
    with pytest.raises(RunError, match=r"no results_\*\.json of lm-eval in it"):
        load_run(tmp_path)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("results_*.json", "{", r"results_.*\.json cannot be read"),
        ("results_*.json", '{"results": {}}', "these are no results of lm-eval"),
        ("results_*.json", '{"results": {}, "configs": {"a": {}}, "config": []}', r"results_.*\.json is damaged"),
        ("samples_pact_refusal_*.jsonl", '{"id": 1}\n', r"samples_.*\.jsonl cannot be read"),
        ("samples_pact_refusal_*.jsonl", "", r"holds 0 rows instead of 4"),
        ("samples_pact_refusal_*.jsonl", None, "run lm_eval with --log_samples"),
    ],
)
def test_damage_is_named(tmp_path, file, text, message):
    write(tmp_path, model("m", labels(4, compliance=1), labels(4)))
    (path,) = (tmp_path / "m").glob(file)
    path.unlink() if text is None else path.write_text(text, encoding="utf-8")
    with pytest.raises(DamagedRunError, match=message):
        load_run(tmp_path)


def test_an_older_file_that_is_damaged_stands_in_nobodys_way(tmp_path, caplog):
    write(tmp_path, model("m", labels(4, compliance=1), labels(4)))
    (tmp_path / "m" / "results_2025-01-01T00-00-00.000000.json").write_text("{")
    assert len(load_run(tmp_path)) == 1
    assert "cannot be read" in caplog.text
