"""The section on PACT in the card that Axolotl writes, and beside the model that it merges."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from huggingface_hub import ModelCard

from pact_plugins.model_card.writing import write_card
from pact_plugins.verification import verify
from tests.axolotl import runs
from tests.axolotl.runs import LORA, Run
from tests.axolotl.test_modes import MODES, STEPS

pytestmark = pytest.mark.framework
PROTECTED = f"**Protected throughout**: {STEPS} of {STEPS} optimizer steps"


@pytest.mark.parametrize("name", ["full_checkpointing", "eaft_accumulation"])
def test_the_card_says_what_protected_the_run(name: str, trained: Callable[..., Run], pact: dict[str, Any]) -> None:
    run = trained(name, {**pact, "max_steps": STEPS, **MODES[name][0]}).succeeded()
    card = ModelCard.load(run.output / "README.md")
    assert card.text.count(PROTECTED) == 1
    assert "Built with Axolotl" in card.text
    assert "pact" in card.data.tags
    assert run.record["versions"]["axolotl"]
    assert run.record["safety_tokens"]["fingerprint"] in card.text


@pytest.mark.matrix
def test_it_goes_with_the_merged_model(trained: Callable[..., Run], pact: dict[str, Any]) -> None:
    run = trained("merging", {**pact, **LORA, "max_steps": STEPS}).succeeded()

    def merge() -> None:
        from axolotl.cli.merge_lora import do_cli

        do_cli("config.yml")

    runs.in_fork(run.folder, merge).succeeded()
    merged = run.output / "merged"
    assert not (merged / "pact.json").exists()
    assert write_card(merged, run.output).is_protected
    assert PROTECTED in ModelCard.load(merged / "README.md").text
    assert verify(merged).is_protected
