"""The section on PACT in the card that LLaMA-Factory writes, and beside the model that it exports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from pact_plugins.verification import verify
from tests.llamafactory import runs

pytestmark = pytest.mark.framework
PROTECTED = "**Protected throughout**: 2 of 2 optimizer steps"


@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_card_says_what_protected_the_run(settings: dict[str, Any], method: str) -> None:
    run = runs.train(settings, finetuning_type=method)
    card = ModelCard.load(run.folder / "README.md")
    assert card.text.count(PROTECTED) == 1
    assert {"pact", "llama-factory"} <= set(card.data.tags)
    assert "### Training hyperparameters" in card.text
    assert run.record is not None
    assert run.record["versions"]["llamafactory"]
    assert run.record["safety_tokens"]["fingerprint"] in card.text


def test_it_goes_with_the_merged_model(settings: dict[str, Any], tmp_path: Path) -> None:
    from llamafactory.train import tuner

    run = runs.train(settings)
    merged = tmp_path / "merged"
    names = ("model_name_or_path", "finetuning_type")
    tuner.export_model(
        {
            **{name: settings[name] for name in names},
            "adapter_name_or_path": str(run.folder),
            "template": "default",
            "export_dir": str(merged),
            "export_device": "cpu",
        }
    )
    assert PROTECTED in ModelCard.load(merged / "README.md").text
    assert verify(merged).is_protected
