"""The commands from end to end on two random chat models."""

from __future__ import annotations

import json
import re

import click
import pytest
from click.testing import CliRunner

from pact_evals import tasks_path
from pact_evals.commands import COMMANDS
from pact_evals.runs.store import load_run
from pact_plugins.errors import ConfigurationError, PACTError


@pytest.fixture(scope="module")
def cli() -> click.Group:
    group = click.Group()
    for command in COMMANDS:
        group.add_command(command)
    return group


def invoke(cli, *arguments):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def test_tasks_path_is_the_folder(cli):
    assert invoke(cli, "tasks-path").output.strip() == str(tasks_path())


def test_eval_judge_report(cli, model_path, other_model_path, tmp_path, caplog):
    caplog.set_level("INFO", "pact_plugins")
    run = tmp_path / "run"
    arguments = (
        "eval",
        f"first={model_path}",
        f"second={other_model_path}",
        "-o",
        run,
        "--limit",
        6,
        "--device",
        "cpu",
    )
    done = invoke(cli, *arguments)
    assert done.exit_code == 0, done.output
    assert re.search(r"^pact_refusal +refusal ↑ +6 +\d", done.stdout, re.MULTILINE)
    assert "first is a partial evaluation: the first 6 rows of each task (--limit)." in done.stdout
    assert "Could not tell whether the refusals were kept: second against first." in done.stdout
    assert f"Stored in {run}" in done.stdout
    for noise in ("fatal:", "not consistent", "Checking cached"):
        assert noise not in done.stderr
    assert "PACT: pact_refusal: 6 answers of at most 128 tokens" in caplog.text
    assert "PACT: pact_refusal_margin: 78 likelihoods" in caplog.text

    before = {file: file.stat().st_mtime_ns for file in run.rglob("*.jsonl")}
    again = invoke(cli, *arguments)
    assert "first: already there" in again.output
    printed = json.loads(invoke(*(cli, *arguments, "--json")).stdout)
    (file,) = (run / "second").glob("results_*.json")
    stored = json.loads(file.read_text(encoding="utf-8"))["results"]
    assert printed["second"]["pact_refusal"]["metrics"]["empty"]["value"] == stored["pact_refusal"]["empty,none"]
    assert before == {file: file.stat().st_mtime_ns for file in run.rglob("*.jsonl")}

    judged = invoke(cli, "judge", run, "--judge", "keyword")
    assert judged.exit_code == 0, judged.output
    assert "Judged by keyword (revision 3); 0 rows unscored." in judged.output

    reported = invoke(cli, "report", run, "-o", tmp_path / "report.html", "--baseline", "second", "--bootstrap", 200)
    assert reported.exit_code == 0, reported.output
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["baseline"] == "second"


def test_a_classifier_that_answers_nonsense_is_counted(cli, model_path, tmp_path):
    run = tmp_path / "run"
    invoke(cli, "eval", f"m={model_path}", "-o", run, "--limit", 4, "--device", "cpu", "--tasks", "pact_refusal")
    judged = invoke(cli, "judge", run, "--judge", "harmbench", "--judge-model", model_path)
    assert judged.exit_code == 0, judged.output
    assert "rows unscored" in judged.output
    (result,) = load_run(run)
    assert result.tasks["pact_refusal"].judge["name"] == "harmbench"


def test_one_model_that_fails_does_not_take_the_other_with_it(cli, model_path, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in model_path.iterdir():
        if not file.name.startswith("model"):
            (broken / file.name).write_bytes(file.read_bytes())
    done = invoke(
        *(cli, "eval", f"broken={broken}", f"good={model_path}", "-o", tmp_path / "run"),
        *("--tasks", "pact_refusal", "--limit", 2, "--device", "cpu"),
    )
    assert done.exit_code == 1
    assert "good: done" in done.output
    assert "1 of 2 models failed: broken" in done.output
    assert list((tmp_path / "run" / "good").glob("results_*.json"))


def test_a_misspelt_folder_is_named_and_not_taken_for_the_hubs_alone(cli, tmp_path, monkeypatch):
    (tmp_path / "runs" / "trained").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    done = invoke(cli, "eval", "runs/traned", "-o", tmp_path / "run", "--tasks", "pact_refusal", "--device", "cpu")
    assert done.exit_code == 1
    assert "runs/traned cannot be loaded: no such folder (did you mean runs/trained?); from the hub: " in done.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--tasks", "pact_refuzal"), "no task 'pact_refuzal'"),
        (("--batch-size", "many"), "--batch-size: 'many'"),
        (("--model-args", "dtype"), "--model-args: 'dtype' is not KEY=VALUE"),
        (("--task-settings", "[1]"), "--task-settings: needs a JSON object"),
        (("--task-settings", "{"), "--task-settings: not JSON"),
    ],
)
def test_bad_options_are_named(cli, model_path, tmp_path, arguments, message):
    done = invoke(cli, "eval", model_path, "-o", tmp_path / "run", *arguments)
    assert isinstance(done.exception, PACTError)
    assert message in str(done.exception)
    assert not (tmp_path / "run").exists()


def test_a_missing_template_and_a_data_set_out_of_reach(cli, model_path, untemplated_model_path, tmp_path, monkeypatch):
    monkeypatch.delenv("PACT_DATA_PATH", raising=False)
    done = invoke(cli, "eval", untemplated_model_path, "-o", tmp_path / "run")
    assert isinstance(done.exception, ConfigurationError)
    assert "--no-chat-template" in str(done.exception)
    far = invoke(cli, "eval", model_path, "-o", tmp_path / "run", "--tasks", "pact_advbench", "--device", "cpu")
    assert far.exit_code == 1
    assert "walledai/AdvBench cannot be reached" in far.output
