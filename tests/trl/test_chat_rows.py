"""Rows of plain ``messages``, the most usual ones: TRL trains on their prompts as well unless it is told not to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from datasets import Dataset

from pact_lab import tiny_world
from pact_plugins import PACTCallback
from pact_plugins.errors import ConfigurationError

pytestmark = pytest.mark.framework
PROMPTS = Path(__file__).parents[2] / "examples" / "tiny_prompts"
MIXTURE = tiny_world.finetuning_rows(8, harmful_fraction=0.5, seed=0)


def record_of(output, tmp_path_factory, named=True, **changes):
    """Train one step with the row gate alone, or with the default; returns what ``pact.json`` says."""
    from trl import SFTConfig, SFTTrainer

    settings = {
        **({"preset": "off", "row_gate": True} if named else {"anchor": {"replies": 2}}),
        "safety_tokens": {
            "harmful_prompts_path": str(PROMPTS / "harmful.json"),
            "harmless_prompts_path": str(PROMPTS / "harmless.json"),
        },
        "reference": {"cache_path": str(tmp_path_factory.getbasetemp() / "chat_rows_cache")},
    }
    arguments = SFTConfig(
        output_dir=str(output),
        **{"use_cpu": True, "bf16": False, "max_steps": 1, "report_to": [], "save_strategy": "no", **changes},
    )
    SFTTrainer(
        model=str(tiny_world.aligned_path()),
        args=arguments,
        train_dataset=Dataset.from_list([{"messages": row["prompt"] + row["completion"]} for row in MIXTURE]),
        callbacks=[PACTCallback(settings)],
    ).train()
    return json.loads((output / "pact.json").read_text())


def test_the_row_gate_names_the_setting_that_leaves_prompts_out(tmp_path, tmp_path_factory):
    with pytest.raises(ConfigurationError, match=r"prompts are trained on .* \(TRL: assistant_only_loss"):
        record_of(tmp_path, tmp_path_factory)


def test_with_it_the_harmful_rows_are_gated(tmp_path, tmp_path_factory):
    record = record_of(tmp_path, tmp_path_factory, assistant_only_loss=True)
    assert len(record["gated_rows"]) == 4


@pytest.mark.parametrize(("changes", "preset"), [({}, "match"), ({"assistant_only_loss": True}, "gate_anchor")])
def test_where_nothing_was_asked_for_the_term_holds_rows_whose_prompts_are_trained_on(
    tmp_path, tmp_path_factory, changes, preset
):
    record = record_of(tmp_path, tmp_path_factory, named=False, **changes)
    assert record["config"]["preset"] == preset
    assert record["optimizer_steps_protected"] == 1
