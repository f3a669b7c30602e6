"""``pact train trl``: TRL's own script with a ``pact:`` block."""

from __future__ import annotations

import json

import pytest
import yaml

from pact_lab import tiny_world
from pact_plugins.errors import ConfigurationError, PACTError
from pact_trl.training import train
from tests.helpers.tiny import CHAT_TEMPLATE


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
        "pact": {"preset": "match", "term": {"weight": 1.5}, "reference": {"cache_path": str(tmp_path / "cache")}},
    }


def write(tmp_path, settings):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(settings))
    return str(path)


@pytest.mark.framework
def test_trains_protected_with_overrides(tmp_path, settings):
    assert train([write(tmp_path, settings), "--max_steps", "3", "pact.term.weight=0.5"]) == 0
    record = json.loads((tmp_path / "out" / "pact.json").read_text())
    assert record["optimizer_steps_protected"] == 3
    assert record["config"]["term"]["weight"] == 0.5
    assert (tmp_path / "out" / "adapter_model.safetensors").is_file()


def test_wrong_key_is_named_before_anything_runs(tmp_path, settings):
    settings["pact"] = {"term": {"wieght": 1}}
    with pytest.raises(ConfigurationError, match=r"term\.wieght: unknown key; did you mean 'weight'"):
        train([write(tmp_path, settings)])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arguments", [[], ["missing.yaml"]])
def test_missing_file_shows_the_usage(arguments):
    with pytest.raises(ConfigurationError, match="usage: pact train trl"):
        train(arguments)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [1", r"config\.yaml is not YAML: line 1: expected ',' or '\]'"),
        (b"\xff\xfe\x00", r"config\.yaml is not YAML: .*invalid start byte"),
        (b"", r"config\.yaml is empty; usage: pact train trl"),
        (b"only words", r"config\.yaml holds no mapping of settings; usage"),
    ],
)
def test_no_settings_in_the_file(tmp_path, content, message):
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=message):
        train([str(path)])
    with pytest.raises(ConfigurationError, match="is a folder; usage"):
        train([str(tmp_path)])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_name_or_path": None}, "model_name_or_path: is not set; name the aligned model"),
        ({"model_name_or_path": "./nowhere"}, r"model_name_or_path: \./nowhere cannot be loaded: no such folder"),
        ({"model_name_or_path": "org/nowhere"}, "model_name_or_path: org/nowhere .*: no such folder; from the"),
        ({"dataset_name": None}, "dataset_name: is not set"),
        ({"dataset_name": "./nowhere"}, r"data: no such file or folder: \./nowhere"),
        ({"dataset_name": None, "datasets": [{"path": "json", "data_files": "none.jsonl"}]}, "data: .*: none.jsonl"),
        ({"dataset_name": "org/nowhere"}, "the data cannot be loaded: "),
        ({"lerning_rate": 1}, "lerning_rate: unknown key; did you mean 'learning_rate'"),
        ({"learning_rate": "fast"}, "argument --learning_rate.*invalid float value: 'fast'"),
        ({"pact": 3}, "pact: expected a mapping of settings, found 3"),
        ({"pact": {"safety_tokens": {"file": "nowhere"}}}, r"pact\.safety_tokens\.file: no such file: nowhere"),
        ({"pact": {"reference": {"path": "./nowhere"}}}, r"pact\.reference\.path: \./nowhere cannot be loaded"),
    ],
)
def test_what_is_missing_or_wrong_is_one_line(tmp_path, settings, changes, message):
    changed = {key: value for key, value in {**settings, **changes}.items() if value is not None}
    with pytest.raises(PACTError, match=rf"config\.yaml: {message}") as error:
        train([write(tmp_path, changed)])
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out" / "adapter_model.safetensors").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("pact.term.weight", "write pact.term.weight=value"),
        ("pact.term.weight=[", "is neither a plain value nor JSON"),
        ("--lerning_rate=1", "lerning_rate"),
    ],
)
def test_a_wrong_override_is_named(tmp_path, settings, override, message):
    with pytest.raises(ConfigurationError, match=message):
        train([write(tmp_path, settings), override])
    with pytest.raises(ConfigurationError, match=r"pact\.term\.mixture is given a value of its own too"):
        train([write(tmp_path, settings), "pact.term.mixture=1", "pact.term.mixture.alpha=2"])


def test_an_error_of_training_itself_keeps_its_traceback(tmp_path, settings):
    """Only what cannot be loaded is put in other words."""
    (tmp_path / "out").write_text("a file where the output folder should be")
    with pytest.raises(OSError, match="File exists") as error:
        train([write(tmp_path, settings)])
    assert not isinstance(error.value, PACTError)


@pytest.mark.framework
def test_a_template_without_marks_is_named_beside_the_setting_that_needs_them(tmp_path, settings):
    rows = [{"messages": row["prompt"] + row["completion"]} for row in tiny_world.finetuning_rows(32, seed=0)]
    (tmp_path / "data" / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "template.jinja").write_text(CHAT_TEMPLATE)
    settings["chat_template_path"] = str(tmp_path / "template.jinja")
    with pytest.raises(
        ConfigurationError, match=r"assistant_only_loss: the chat template of .* does not mark"
    ) as error:
        train([write(tmp_path, {**settings, "assistant_only_loss": True})])
    assert "\n" not in str(error.value)
    # What it says to do.
    assert train([write(tmp_path, settings)]) == 0
    assert json.loads((tmp_path / "out" / "pact.json").read_text())["optimizer_steps_protected"] == 2
