"""Gate and anchor, switched on by the YAML alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pact_lab import tiny_world
from pact_plugins.errors import ConfigurationError
from pact_plugins.training import joining
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


@pytest.mark.parametrize(
    ("layout", "joins"),
    [({}, True), ({"gradient_accumulation_steps": 2}, True), ({"packing": True}, True), ({"neat_packing": 1}, False)],
    ids=["padded", "accumulated", "packed", "neatly packed"],
)
def test_replies_in_the_trainers_own_pass_have_the_gradients_of_a_pass_of_their_own(
    settings: dict[str, Any],
    block: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    layout: dict[str, Any],
    joins: bool,
) -> None:
    found = []
    for worth in (10**9, -(10**9)):
        monkeypatch.setitem(joining._PASS_IN_TOKENS, "cpu", worth)
        with caplog.at_level("INFO", logger="pact_plugins"):
            own = {**settings, "output_dir": f"{settings['output_dir']}{len(found)}"}
            found.append(runs.train(own, moves=True, pact=block, max_steps=1, **layout).recorder.gradients)
    assert ("replies join the trainer's own forward pass" in caplog.text) == joins
    assert found[0].keys() == found[1].keys()
    largest = max(float(value.abs().max()) for value in found[1].values())
    assert max(float((found[0][name] - found[1][name]).abs().max()) for name in found[1]) < 2e-6 * largest


@pytest.mark.parametrize("switch", ["use_dft_loss", "label_smoothing_factor"])
def test_losses_without_a_handle_are_refused_by_name(
    settings: dict[str, Any], block: dict[str, Any], switch: str, tmp_path: Path
) -> None:
    value = 0.1 if switch == "label_smoothing_factor" else True
    with pytest.raises(ConfigurationError, match=rf"{switch} computes a loss of its own.*pact audit"):
        runs.train(settings, pact={**block, "row_gate": True}, **{switch: value})
