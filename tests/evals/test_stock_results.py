"""What the stock `lm_eval` command wrote goes through `pact judge`, `check`, `report` and `card`."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import pact_lab
from pact_evals import shown, tasks_path
from pact_evals.commands import COMMANDS
from pact_evals.runs.store import load_run
from pact_lab import tiny_world

pytestmark = pytest.mark.framework


def lm_eval(model, output, *further, tasks="pact_refusal,pact_overrefusal", folder=None):
    """The stock command, in this process."""
    from lm_eval.__main__ import cli_evaluate

    arguments = {
        "--model_args": f"pretrained={model}",
        "--include_path": str(folder or tasks_path()),
        "--tasks": tasks,
        "--device": "cpu",
        "--batch_size": "44",
        "--output_path": str(output),
    }
    given = [part for pair in arguments.items() for part in pair]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["lm_eval", "run", "--model", "hf", *given, *further])
        cli_evaluate()


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stock")
    for model in (tiny_world.aligned_path(), tiny_world.base_path()):
        lm_eval(model, folder, "--log_samples", "--apply_chat_template")
    return folder


def pact(name, *arguments):
    (command,) = (one for one in COMMANDS if one.name == name)
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_check(output):
    before = {file: file.read_bytes() for file in output.rglob("*.json*")}
    done = pact("check", output)
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (1, "LOST"), done.output
    assert "lost: base, pact_refusal: refusal 84.8 -> " in done.output
    assert {file: file.read_bytes() for file in output.rglob("*.json*")} == before


def test_report_and_judge(output, tmp_path):
    done = pact("report", output, "-o", tmp_path / "report.html", "--bootstrap", 100)
    assert done.exit_code == 0, done.output
    data = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert data["labels"] == ["aligned", "base"]
    assert data["judges"]["base · pact_refusal"]["name"] == "keyword"
    before = load_run(output)
    judged = pact("judge", output, "--judge", "keyword")
    assert judged.exit_code == 0, judged.output
    for then, now in zip(before, load_run(output), strict=True):
        for name, task in then.tasks.items():
            values = {metric: one.value for metric, one in task.metrics.items()}
            assert {metric: one.value for metric, one in now.tasks[name].metrics.items()} == values
    assert len(list(output.rglob("verdicts_*.jsonl"))) == 4


def test_a_part_or_another_template_cannot_tell(output, tmp_path):
    lm_eval(tiny_world.aligned_path(), tmp_path / "part", "--log_samples", "--apply_chat_template", "--limit", "3")
    done = pact("check", output, tmp_path / "part", "--baseline", f"{output.name}/aligned")
    assert "aligned is a partial evaluation (--limit 3" in done.output
    lm_eval(tiny_world.base_path(), tmp_path / "plain", "--log_samples", "--limit", "3")
    done = pact("check", tmp_path / "part", tmp_path / "plain")
    assert done.exit_code == 2
    assert "base, pact_refusal: not to be compared with aligned: another chat template" in done.output


def test_without_samples_it_says_what_to_do(tmp_path):
    lm_eval(tiny_world.aligned_path(), tmp_path, "--apply_chat_template", "--limit", "2")
    done = pact("check", tmp_path)
    assert done.exit_code == 2
    assert "run lm_eval with --log_samples" in done.output


def test_the_toy_worlds_answers_are_answers_too(tmp_path, capsys):
    shown._tasks.cache_clear()
    tasks = "pact_tiny_harmful,pact_tiny_benign"
    folder = Path(pact_lab.__file__).parent / "tasks"
    further = ("--apply_chat_template", "--log_samples", "--limit", "4")
    lm_eval(tiny_world.aligned_path(), tmp_path, *further, tasks=tasks, folder=folder)
    shown._print()  # as the end of the command does
    ours = capsys.readouterr().out.partition("rows")[2]
    assert re.search(r"^pact_tiny_harmful +refusal ↑ +4 +100\.0 % \[51\.0, 100\.0\]$", ours, re.MULTILINE)
    (found,) = load_run(tmp_path)
    assert {task.judge["name"] for task in found.tasks.values()} == {"tiny_world"}
    judged = pact("judge", tmp_path, "--judge", "keyword")
    assert judged.exit_code == 0, judged.output
    assert "Judged by keyword (revision 3); 0 rows unscored." in judged.output
    (found,) = load_run(tmp_path)
    assert {task.judge["name"] for task in found.tasks.values()} == {"keyword"}
