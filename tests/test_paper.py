"""``benchmarks/paper.py``: its data, its rows' settings, and all of it on the small model."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import yaml

from benchmarks import paper
from pact_evals.harness.datasets import PUBLIC_SETS
from pact_lab import tiny_world
from pact_plugins import PACTConfig

CPU = "max_steps=2,use_cpu=true,bf16=false,dtype=float32,gradient_checkpointing=false"


def test_each_row_is_a_valid_run_and_plain_is_the_frameworks_own(tmp_path, capsys):
    given = ["--model", "org/chat", "--base", "org/base", "--task", "sst2", "--rows", "all", "--dry-run"]
    assert paper.main([*given, "--output", str(tmp_path)]) == 0
    configs = {file.stem: yaml.safe_load(file.read_text()) for file in (tmp_path / "sst2").glob("*.yaml")}
    assert configs.keys() == paper.ROWS.keys()
    blocks = {name: PACTConfig.from_mapping(config["pact"]) for name, config in configs.items()}
    assert {config.safety_tokens.base_model_path for config in blocks.values()} == {"org/base"}
    assert [name for name, config in blocks.items() if config.is_off] == ["plain"]
    assert blocks["published"].term.objective == "published"
    printed = capsys.readouterr().err
    assert printed.count("pact train trl") == len(paper.ROWS)
    assert f"guard={tmp_path / 'sst2' / 'guard'} --tasks pact_public," in printed


def test_an_unknown_row_is_named(capsys):
    with pytest.raises(SystemExit):
        paper.main(["--model", "m", "--task", "sst2", "--rows", "plain,fancy"])
    assert "fancy unknown; choose from all, plain" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("task", "rows", "prompt", "answer"),
    [
        ("sst2", [{"sentence": "a fine film", "label": 1}] * 3, "a fine film", "positive"),
        ("agnews", [{"text": "Rates rise.", "label": 2}] * 3, "Rates rise.", "Business"),
        ("gsm8k", [{"question": "1 + 1?", "answer": "Two ones.\n#### 2"}] * 3, "1 + 1?", "Two ones.\n#### 2"),
    ],
)
def test_data_are_conversations_with_the_tasks_instruction(tmp_path, monkeypatch, task, rows, prompt, answer):
    """Rows with the hub's columns, read by ``datasets`` from a folder in the hub's place."""
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(PUBLIC_SETS, task, replace(PUBLIC_SETS[task], hub=str(folder), config=None))
    paper.write_data(task, 2, tmp_path / "data.jsonl")
    written = [json.loads(line) for line in (tmp_path / "data.jsonl").read_text().splitlines()]
    assert len(written) == 2
    assert written[0]["prompt"][0]["content"].endswith(prompt)
    assert written[0]["completion"] == [{"role": "assistant", "content": answer}]


@pytest.mark.framework
@pytest.mark.matrix
def test_two_rows_on_the_small_model(tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("\n".join(map(json.dumps, tiny_world.finetuning_rows(32, seed=0))))
    given = ["--model", str(tiny_world.aligned_path()), "--base", str(tiny_world.base_path()), "--task", "sst2"]
    given += ["--data", str(rows), "--output", str(tmp_path / "out"), "--tasks", "pact_tiny", "--set", CPU]
    assert paper.main([*given, "--rows", "plain,published"]) == 0
    run = tmp_path / "out" / "sst2" / "eval"
    assert json.loads((run / "run.json").read_text())["labels"] == ["aligned", "plain", "published"]
    assert (run / "report.html").is_file()
