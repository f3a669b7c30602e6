"""Every example of docs/hooks.md, in an installed package of its own, through the command that uses it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from pact_lab import tiny_world
from tests.helpers.environments import Environment
from tests.helpers.packages import documented_example, documented_yaml, write_installed
from tests.helpers.strangers import Stranger

pytestmark = pytest.mark.framework


@pytest.fixture
def stranger(tmp_path: Path, request: pytest.FixtureRequest) -> Stranger:
    hook = request.node.name.removeprefix("test_")
    return Stranger(tmp_path, write_installed(tmp_path / "site", documented_example(hook)))


@pytest.mark.matrix
def test_register_objectives(stranger: Stranger) -> None:
    _, record = stranger.train({"objective": "squared_distance", "objective_options": {"scale": 2.0}})
    assert record["optimizer_steps_protected"] == 2
    assert record["last_log"]["pact/gap"] >= 0


@pytest.mark.matrix
def test_register_references(stranger: Stranger) -> None:
    printed, record = stranger.train({"reference": "even"})
    assert "equally likely" in printed
    assert (record["reference"], record["optimizer_steps_protected"]) == ("even", 2)
    assert record["last_log"]["pact/kl"] > 0


def test_register_parts(stranger: Stranger) -> None:
    _, record = stranger.train(yaml.safe_load(documented_yaml("register_parts"))["pact"])
    assert record["last_log"]["pact/state_size"] > 0
    # One receipt a micro-batch for the term, one for the part.
    assert (record["optimizer_steps_protected"], record["gradient_receipts"]) == (2, 4)


def test_register_token_scorers(stranger: Stranger) -> None:
    stranger.pact(
        *("calibrate", str(tiny_world.aligned_path()), "--token-scorer", "probability", "-o", "tokens.safetensors"),
        *("--prompts", str(stranger.prompts())),
    )
    assert "probability" in stranger.pact("inspect", "tokens.safetensors")


def test_register_frameworks(stranger: Stranger) -> None:
    assert stranger.pact("train", "my_framework", "config.yaml") == "training with config.yaml\n"


def test_register_commands(stranger: Stranger) -> None:
    assert stranger.pact("hello") == "hello from a plugin\n"


@pytest.mark.matrix
def test_register_methods(stranger: Stranger) -> None:
    assert "half" in stranger.pact("compare", "--list")
    options = ["--methods", "half", "--scenarios", "mixture-p05", "--seeds", "1", "--prompts", "2", "-o", "compared"]
    assert "half" in stranger.pact("compare", *options)
    (cell,) = (stranger.folder / "compared" / "cells").glob("mixture-p05.half.*.json")
    assert json.loads(cell.read_text())["rows"] == 400


def test_register_judges(stranger: Stranger) -> None:
    options = ["--tasks", "pact_refusal", "--limit", "4", "--device", "cpu", "-o", "run"]
    stranger.pact("eval", str(tiny_world.aligned_path()), *options)
    assert "Judged by polite (revision 1.2.3)" in stranger.pact("judge", "run", "--judge", "polite")


@pytest.mark.matrix
def test_register_task_folders(stranger: Stranger) -> None:
    tasks = stranger.site / "stranger_tasks"
    tasks.mkdir()
    (tasks / "greetings.yaml").write_text(documented_yaml("register_task_folders"))
    (tasks / "greetings.py").write_text(
        "import datasets\n\n\ndef rows(**_):\n"
        '    row = {"prompt": "Hello!", "answer": "Hello"}\n'
        '    return {"test": datasets.Dataset.from_list([row])}\n'
    )
    stranger.pact(
        *("eval", str(tiny_world.aligned_path()), "--tasks", "greetings", "--device", "cpu", "-o", "run"),
    )
    (results,) = (stranger.folder / "run" / "models").glob("*/results.json")
    assert "exact_match" in results.read_text()


def test_register_short_names(tmp_path: Path) -> None:
    environment = Environment(tmp_path / "venv")
    write_installed(environment.site, documented_example("register_short_names"))
    framework = environment.site / "small_framework"
    framework.mkdir()
    (framework / "__init__.py").touch()
    (framework / "training.py").write_text("def train(config):\n    return 'trained'\n")
    program = "from small_framework import training; print(training.train({'pact': True}))"
    assert environment.run("-c", program).stdout == "trained\n"
    assert environment.pact("enable").returncode == 0
    assert environment.run("-c", program).stdout == "trained, with PACT\n"
    assert "small-framework" in environment.pact("doctor").stdout
