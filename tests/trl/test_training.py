"""``pact train trl``: TRL's own script with a ``pact:`` block."""

from __future__ import annotations

import json

import pytest
import yaml

from pact_lab import tiny_world
from pact_plugins.errors import ConfigurationError
from pact_trl.training import train


@pytest.fixture
def settings(tmp_path):
    rows = tiny_world.finetuning_rows(32, seed=0)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return {
        "model_name_or_path": str(tiny_world.aligned_path()),
        "dataset_name": str(tmp_path / "data"),
        "output_dir": str(tmp_path / "out"),
        "use_peft": True,
        "use_cpu": True,
        "bf16": False,
        "max_steps": 2,
        "report_to": "none",
        "save_strategy": "no",
        "pact": {"kl_coef": 1.5, "cache_path": str(tmp_path / "cache")},
    }


def write(tmp_path, settings):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(settings))
    return str(path)


@pytest.mark.framework
def test_trains_protected_with_overrides(tmp_path, settings):
    assert train([write(tmp_path, settings), "--max_steps", "3", "pact.kl_coef=0.5"]) == 0
    record = json.loads((tmp_path / "out" / "pact.json").read_text())
    assert record["optimizer_steps_protected"] == 3
    assert record["config"]["kl_coef"] == 0.5
    assert (tmp_path / "out" / "adapter_model.safetensors").is_file()


def test_wrong_key_is_named_before_anything_runs(tmp_path, settings):
    settings["pact"] = {"kl_coeff": 1}
    with pytest.raises(ConfigurationError, match="kl_coeff: unknown key; did you mean 'kl_coef'"):
        train([write(tmp_path, settings)])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arguments", [[], ["missing.yaml"]])
def test_missing_file_shows_the_usage(arguments):
    with pytest.raises(ConfigurationError, match="usage: pact train trl"):
        train(arguments)


def test_not_yaml(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("a: [1")
    with pytest.raises(ConfigurationError, match="is not YAML"):
        train([str(path)])
