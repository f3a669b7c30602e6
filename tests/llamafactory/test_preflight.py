"""What is missing or unreadable is one line and exit status 2, before LLaMA-Factory is imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pact_lab.tiny_world import aligned_path
from pact_llamafactory.arguments import take_stage
from pact_llamafactory.launcher import read_arguments
from pact_llamafactory.preflight import check_places
from pact_plugins.errors import ConfigurationError
from tests.helpers.trainers import python_path


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    data = {"here": {"file_name": "rows.json"}, "gone": {"file_name": "gone.json"}, "hub": {"hf_hub_url": "org/set"}}
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "dataset_info.json").write_text(json.dumps(data))
    (tmp_path / "data" / "rows.json").write_text("[]")
    folder = str(tmp_path / "data")
    return {"stage": "pact", "model_name_or_path": str(aligned_path()), "dataset": "here,hub", "dataset_dir": folder}


def check(settings: dict[str, Any]) -> None:
    stage = take_stage(settings)
    assert stage is not None
    check_places(stage.arguments, stage.config())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_name_or_path": None}, "model_name_or_path: is not set"),
        ({"model_name_or_path": "./nowhere"}, r"model_name_or_path: \./nowhere cannot be loaded: no such folder"),
        ({"dataset": None}, "dataset: is not set"),
        ({"dataset": "here, other"}, r"dataset: other is not in .*dataset_info\.json, which lists here, gone, hub"),
        ({"dataset": "gone"}, r"dataset: gone: no such file: .*gone\.json"),
        ({"dataset_dir": "nowhere"}, r"dataset_dir: nowhere/dataset_info\.json cannot be read: No such file"),
        (
            {"pact": {"safety_tokens": {"refusals_path": "nowhere"}}},
            r"pact\.safety_tokens\.refusals_path: no such file",
        ),
    ],
)
def test_what_is_not_there_is_named(settings: dict[str, Any], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        check({**settings, **changes})


@pytest.mark.parametrize("changes", [{}, {"dataset_dir": "ONLINE"}, {"dataset_dir": "REMOTE:org/set"}])
def test_what_may_be_there_passes(settings: dict[str, Any], changes: dict[str, Any]) -> None:
    check({**settings, **changes})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty; usage: pact train llamafactory"),
        ("a: [1", "is not YAML: line 1: "),
        (None, "no such file; usage"),
    ],
)
def test_a_file_without_settings(tmp_path: Path, content: str | None, message: str) -> None:
    file = tmp_path / "cfg.yaml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigurationError, match=message):
        read_arguments([str(file)])


def test_the_command_says_it_in_one_line_without_llamafactory(tmp_path: Path, settings: dict[str, Any]) -> None:
    file = tmp_path / "cfg.yaml"
    file.write_text(yaml.safe_dump({**settings, "dataset": "gone"}))
    script = (
        "import sys; from pact_plugins.cli import main; sys.argv[0] = 'pact'\n"
        "try: main()\n"
        "finally: print([name for name in sys.modules if name.split('.')[0] == 'llamafactory'])"
    )
    command = [sys.executable, "-c", script, "train", "llamafactory", str(file)]
    finished = subprocess.run(command, capture_output=True, text=True, env=python_path(), check=False)
    assert finished.returncode == 2
    assert finished.stderr.startswith("Error: dataset: gone: no such file: ")
    assert finished.stdout == "[]\n"
