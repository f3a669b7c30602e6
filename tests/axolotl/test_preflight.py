"""What is wrong with a YAML is one line and exit status 2, before Axolotl is imported or a worker started."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pact_axolotl.preflight import check_arguments, check_as_written
from pact_lab.tiny_world import aligned_path
from pact_plugins.errors import ConfigurationError
from tests.axolotl.runs import BASE, LORA
from tests.helpers.trainers import python_path


def written(folder: Path, settings: dict[str, Any]) -> str:
    file = folder / "config.yml"
    file.write_text(yaml.safe_dump({**BASE, **LORA, **settings}), encoding="utf-8")
    return str(file)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pact": {"term": {"wieght": 1}}}, "pact.term.wieght: unknown key; did you mean 'weight'?"),
        ({"pact_config": {}}, "pact_config: unknown key"),
        ({"rl": "dpo"}, "rl: dpo does not go with PACT"),
        ({"plugins": ["pact", "pact_axolotl.PACTPlugin"]}, "plugins: lists PACT 2 times"),
        ({"lora_model_dir": "./old"}, "lora_model_dir: training continues an adapter"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=r"config\.yml: ") as error:
        check_arguments([written(tmp_path, settings), "--launcher", "python"])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("plugins", [None, "pact", ["pact_axolotl.PACTPlugin"], ["another.Plugin"]])
def test_what_is_right_passes(tmp_path: Path, plugins: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.jsonl").touch()
    check_arguments([written(tmp_path, {"plugins": plugins, "pact": {"preset": "match", "term": {"weight": 1}}})])
    check_arguments(["--help"])
    check_arguments(["https://example.org/config.yml"])
    check_arguments([])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"plugins": "pact", "pact": {"term": {"wieght": 1}}}, "pact.term.wieght: unknown key"),
        ({"plugins": "pact", "rl": "dpo"}, "rl: dpo does not go with PACT"),
        (
            {"plugins": "pact", "pact": {"safety_tokens": {"file": "gone.x"}}},
            "pact.safety_tokens.file: no such file: gone.x",
        ),
        (
            {"plugins": "pact", "pact": {"drift_watch": {"prompts_path": "gone"}}},
            "pact.drift_watch.prompts_path: no such",
        ),
        (
            {"plugins": "pact", "pact": {"reference": {"path": "./gone"}}},
            "pact.reference.path: ./gone cannot be loaded",
        ),
        ({"plugins": "pact"}, "datasets.0.path: no such file or folder: ./train.jsonl"),
        ({"plugins": "pact", "base_model": None}, "base_model: is not set; name the aligned model"),
        ({"plugins": "pact", "base_model": "./gone"}, "base_model: ./gone cannot be loaded: no such folder"),
        ({"pact": {"preset": "match", "term": {"weight": 1}}}, "the plugin does not, so the run would be unprotected"),
    ],
)
def test_the_stock_command_is_told_too(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    file = Path(written(tmp_path, settings))
    with pytest.raises(ConfigurationError, match=r"config\.yml: ") as error:
        check_as_written(file)
    assert message in str(error.value)


@pytest.mark.parametrize("text", ["rl: dpo", "plugins: [another.Plugin]\nrl: dpo", "[", "- a list", ""])
def test_what_is_no_business_of_ours_is_left_to_axolotl(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yml").write_text(text)
    check_as_written(tmp_path / "config.yml")
    check_as_written(tmp_path / "none.yml")


def test_what_the_command_line_sets_need_not_stand_in_the_yaml(tmp_path: Path) -> None:
    file = written(tmp_path, {"plugins": "pact", "base_model": None, "datasets": None})
    check_as_written(Path(file), ["base_model"])
    check_arguments([file, "--base-model", "org/model"])
    with pytest.raises(ConfigurationError, match="base_model: is not set"):
        check_arguments([file])


def test_the_command_says_it_in_one_line_without_axolotl(tmp_path: Path) -> None:
    config = written(tmp_path, {"base_model": str(aligned_path()), "pact": {"preset": "gaurd"}})
    script = (
        "import sys; from pact_plugins.cli import main; sys.argv[0] = 'pact'\n"
        "try: main()\n"
        "finally: print([name for name in sys.modules if name.split('.')[0] == 'axolotl'])"
    )
    command = [sys.executable, "-c", script, "train", "axolotl", config]
    finished = subprocess.run(command, capture_output=True, text=True, env=python_path(), check=False)
    assert finished.returncode == 2
    assert "Traceback" not in finished.stderr
    # Before it there may be lines of what torch brings along.
    line = finished.stderr.strip().splitlines()[-1]
    assert line.startswith(f"Error: {config}: pact.preset: unknown preset 'gaurd'; available: published, match")
    assert finished.stdout == "[]\n"
