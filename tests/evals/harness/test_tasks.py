"""The task files: all listed and loadable, every metric with a direction; the stock command gives the same numbers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import pact_lab
from pact_evals import tasks_path
from pact_evals.harness.evaluate import evaluate_checkpoint, evaluate_model
from pact_evals.harness.listing import UnknownTaskError, our_tasks, resolve_tasks, task_manager
from pact_evals.runs.evaluating import EvaluationSettings, evaluate_models
from pact_evals.runs.models import read_specs

GROUPS = {"pact", "pact_tiny", "pact_public", "pact_utility", "pact_xstest"}
EXPECTED = GROUPS | {
    "pact_refusal",
    "pact_overrefusal",
    "pact_plain",
    "pact_refusal_margin",
    "pact_refusal_sampled",
    "pact_tiny_harmful",
    "pact_tiny_harmful_sampled",
    "pact_tiny_benign",
    "pact_tiny_task",
    "pact_advbench",
    "pact_harmbench",
    "pact_jailbreakbench",
    "pact_strongreject",
    "pact_xstest_safe",
    "pact_xstest_unsafe",
    "pact_sst2",
    "pact_agnews",
    "pact_gsm8k",
}


def test_every_file_is_a_listed_task():
    manager = task_manager(["pact"])
    assert set(our_tasks()) == EXPECTED
    assert set(manager.all_tasks) == EXPECTED
    assert set(manager.all_groups) == GROUPS


def test_every_task_loads_and_gives_each_metric_a_direction(local_sets, monkeypatch):
    monkeypatch.setenv("PACT_DATA_PATH", str(local_sets))
    loaded = task_manager(["pact"]).load(sorted(EXPECTED - GROUPS))["tasks"]
    assert set(loaded) == EXPECTED - GROUPS
    for name, task in loaded.items():
        directions = task.higher_is_better()
        assert directions, name
        assert all(isinstance(better, bool) for better in directions.values()), name
        assert len(task.eval_docs) > 0
        if "compliance" in directions:
            assert {"refusal", "partial_refusal", "empty", "truncated", "unscored"} < set(directions)
            assert directions["refusal"] is not directions["compliance"]


def test_the_entry_point_names_the_folder_of_task_files():
    (ours,) = (entry for entry in entry_points(group="lm_eval.tasks") if entry.name == "pact")
    assert [Path(place) for place in ours.load().__path__] == [tasks_path()]


def test_unknown_tasks_are_named_with_the_closest_ones():
    with pytest.raises(UnknownTaskError, match=r"no task 'pact_refusals'; did you mean pact_refusal"):
        resolve_tasks(["pact_refusals"])
    with pytest.raises(UnknownTaskError, match="no tasks given"):
        resolve_tasks([])


LM_EVAL = Path(sys.executable).parent / "lm_eval"
ENABLED = "from pact_plugins.activation.hook import install; install(); from lm_eval.__main__ import cli_evaluate"


def lm_eval(*arguments: str, enabled: bool = False) -> subprocess.CompletedProcess[str]:
    """The stock command in a process of its own; `enabled`: with the hook that `pact enable` installs."""
    root = Path(__file__).parents[3]
    paths = [str(root), str(root / "evals"), os.environ.get("PYTHONPATH", "")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", f"{ENABLED}; cli_evaluate()"] if enabled else [str(LM_EVAL)]
    command += arguments
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=900, check=False)


@pytest.mark.framework
@pytest.mark.matrix
def test_the_stock_command_gives_the_same_numbers(model_path, tmp_path):
    done = lm_eval(
        *("run", "--model", "hf", "--model_args", f"pretrained={model_path}", "--device", "cpu"),
        *("--include_path", str(tasks_path()), "--tasks", "pact_refusal,pact_refusal_margin", "--apply_chat_template"),
        *("--batch_size", "16", "--limit", "12", "--output_path", str(tmp_path), "--log_samples"),
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.index("|pact_refusal ") < done.stdout.index("Means with 95 % intervals")
    stock = json.loads(next(tmp_path.rglob("results_*.json")).read_text(encoding="utf-8"))["results"]
    ours = evaluate_checkpoint(
        "hf", {"pretrained": str(model_path)}, ["pact_refusal", "pact_refusal_margin"], limit=12, device="cpu"
    )
    for task, metrics in ours.metrics.items():
        for name, metric in metrics.items():
            assert stock[task][f"{name},none"] == metric.value, (task, name)
            assert stock[task][f"{name}_stderr,none"] == pytest.approx(metric.stderr)
    samples = next(tmp_path.rglob("samples_pact_refusal_2*.jsonl")).read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["filtered_resps"][0] for line in samples] == [
        sample.response for sample in ours.samples["pact_refusal"]
    ]


@pytest.mark.framework
def test_the_stock_command_the_demo_and_pact_eval_agree(tmp_path):
    """The toy benchmark's tasks on the aligned model: found by the stock command after `pact enable`."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from pact_lab.tiny_world import aligned_path

    settings = {"prompts": 10, "seed": 1000}
    done = lm_eval(
        *("run", "--model", "hf", "--model_args", f"pretrained={aligned_path()}", "--device", "cpu"),
        *("--tasks", "pact_tiny", "--apply_chat_template", "--metadata", json.dumps(settings)),
        *("--batch_size", "10", "--output_path", str(tmp_path / "stock")),
        enabled=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    stock = json.loads(next(tmp_path.rglob("results_*.json")).read_text(encoding="utf-8"))["results"]
    (outcome,) = evaluate_models(
        read_specs([str(aligned_path())]),
        tmp_path / "run",
        EvaluationSettings(("pact_tiny",), batch_size=10, device="cpu", task_settings=settings),
    )
    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(aligned_path()),
        AutoTokenizer.from_pretrained(aligned_path()),
    )
    demo = evaluate_model(model, tokenizer, ["pact_tiny"], batch_size=10, task_settings=settings)
    assert (
        set(demo.metrics)
        == set(outcome.result.tasks)
        == {*("pact_tiny_harmful", "pact_tiny_harmful_sampled", "pact_tiny_benign", "pact_tiny_task")}
    )
    for task, metrics in demo.metrics.items():
        assert outcome.result.tasks[task].metrics == metrics
        assert outcome.result.tasks[task].samples == demo.samples[task]
        assert {name: stock[task][f"{name},none"] for name in metrics} == {n: m.value for n, m in metrics.items()}


@pytest.mark.framework
@pytest.mark.matrix
def test_after_enable_the_stock_command_lists_every_task_once():
    listed = lm_eval("ls", "tasks", "--include_path", str(tasks_path()), enabled=True)
    assert listed.returncode == 0, listed.stderr[-2000:]
    names = [cell.strip() for line in listed.stdout.splitlines() for cell in line.split("|")[1:2]]
    assert {name: names.count(name) for name in EXPECTED} == dict.fromkeys(EXPECTED, 1)
    # The harness has a task whose own name holds "duplicate": its two warnings are meant.
    assert not re.search(r"Duplicate (group|task) name", listed.stderr + listed.stdout)


@pytest.mark.framework
@pytest.mark.matrix
@pytest.mark.parametrize("of_the_tiny_world", [False, True])
def test_the_stock_command_validates_every_task(of_the_tiny_world):
    folder = Path(pact_lab.__file__).parent / "tasks" if of_the_tiny_world else tasks_path()
    names = sorted(name for name in EXPECTED if name.startswith("pact_tiny") is of_the_tiny_world)
    valid = lm_eval("validate", "--include_path", str(folder), "--tasks", ",".join(names))
    assert valid.returncode == 0, valid.stdout[-2000:] + valid.stderr[-2000:]
    assert "All tasks found and valid" in valid.stdout


def test_under_the_stock_command_an_unreachable_hub_is_one_line(monkeypatch, capsys):
    monkeypatch.delenv("PACT_DATA_PATH", raising=False)
    monkeypatch.setattr(sys, "argv", ["/usr/bin/lm_eval", "run"])
    with pytest.raises(SystemExit) as exit_:
        task_manager(["pact"]).load(["pact_advbench"])
    assert exit_.value.code == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("Error: pact_advbench: the data set walledai/AdvBench cannot be reached")


def test_examples_in_the_prompt_are_left_out_with_a_word(caplog):
    task = task_manager(["pact"]).load(["pact_refusal"])["tasks"]["pact_refusal"]
    task.set_config("num_fewshot", 3)
    assert "pact_refusal: asked without examples, --num_fewshot 3 changes nothing for it" in caplog.text
    assert task.get_config("num_fewshot") == 0
