"""Gate and anchor, switched on by the YAML alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pact_lab import tiny_world
from pact_plugins.errors import ConfigurationError
from tests.helpers.guarded_world import guard_settings
from tests.llamafactory import runs

pytestmark = pytest.mark.framework


@pytest.fixture(scope="module")
def block(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return guard_settings(tmp_path_factory.mktemp("guard"))


def test_one_epoch_under_guard(settings: dict[str, Any], block: dict[str, Any]) -> None:
    run = runs.train(settings, pact=block, max_steps=12, learning_rate=3e-3)
    record, rows = run.record, tiny_world.finetuning_mixture(48, seed=1)
    assert record is not None
    assert record["optimizer_steps_protected"] == 12
    assert record["gradient_receipts"] == 3 * 12
    poisoned = {index for index, row in enumerate(rows) if row.kind == "harmful"}
    assert {row["row"] for row in record["parts"]["row_gate"]["gated_rows"]} == poisoned
    assert sum(run.logged("pact/gated_rows")) == len(poisoned)
    divergence = run.logged("pact/anchor_kl")
    assert len(divergence) == 12
    # Nothing has moved before the first step.
    assert divergence[0] < 1e-7
    assert max(divergence) > 1e-4
    assert (run.folder / "pact_anchors.json").exists()


@pytest.mark.parametrize("switch", ["use_dft_loss", "label_smoothing_factor"])
def test_losses_without_a_handle_are_refused_by_name(
    settings: dict[str, Any], block: dict[str, Any], switch: str, tmp_path: Path
) -> None:
    value = 0.1 if switch == "label_smoothing_factor" else True
    with pytest.raises(ConfigurationError, match=rf"{switch} computes a loss of its own.*pact audit"):
        runs.train(settings, pact={**block, "row_gate": True}, **{switch: value})
