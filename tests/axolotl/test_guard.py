"""Gate and anchor, switched on by the YAML alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pact_lab import tiny_world
from tests.axolotl.runs import LORA, PLUGIN, Run, in_fork
from tests.helpers.guarded_world import guard_settings

pytestmark = pytest.mark.framework


@pytest.fixture(scope="module")
def guard(workplace: Path) -> dict[str, Any]:
    folder = workplace / "guard_files"
    folder.mkdir()

    def write() -> None:
        (folder / "block.json").write_text(json.dumps(guard_settings(folder)))

    in_fork(folder, write).succeeded()
    return {"plugins": [PLUGIN], "pact": json.loads((folder / "block.json").read_text()), **LORA}


def test_one_epoch_under_guard(trained: Callable[..., Run], guard: dict[str, Any]) -> None:
    run = trained("guard", {**guard, "max_steps": 6}).succeeded()
    record = run.record
    assert record["optimizer_steps_protected"] == 6
    assert record["gradient_receipts"] == 3 * 6
    mixture = tiny_world.finetuning_mixture(24, harmful_fraction=0.1, seed=3)
    poisoned = [row.prompt for row in mixture if row.kind == "harmful"]
    assert len(record["parts"]["row_gate"]["gated_rows"]) == len(poisoned)
    assert all(any(prompt in row["prompt"] for prompt in poisoned) for row in record["parts"]["row_gate"]["gated_rows"])
    logged = [entry for entry in run.history if "pact/anchor_kl" in entry]
    assert len(logged) == 6
    assert sum(entry["pact/gated_rows"] for entry in logged) == len(poisoned)
    assert logged[0]["pact/anchor_kl"] < 1e-5 < logged[-1]["pact/anchor_kl"]


@pytest.mark.parametrize(
    "layout",
    [{}, {"gradient_accumulation_steps": 2}, {"sample_packing": True, "attn_implementation": "sdpa"}],
    ids=["padded", "accumulated", "packed"],
)
def test_replies_in_the_trainers_own_pass_have_the_gradients_of_a_pass_of_their_own(
    trained: Callable[..., Run], guard: dict[str, Any], layout: dict[str, Any]
) -> None:
    found = []
    for place in ("Joined", "Apart"):
        plugins = [f"tests.axolotl.probe.{name}" for name in (place, "FirstStep")]
        settings = {**guard, **layout, "plugins": [*plugins, PLUGIN], "max_steps": 1}
        run = trained(f"{place}-{'-'.join(layout)}", settings).succeeded()
        assert ("replies join the trainer's own forward pass" in run.log) == (place == "Joined")
        found.append(run.tensors("gradients"))
    largest = max(float(value.abs().max()) for value in found[1].values())
    assert found[0].keys() == found[1].keys()
    assert max(float((found[0][name] - found[1][name]).abs().max()) for name in found[1]) < 2e-6 * largest


def test_a_loss_without_a_handle_is_refused_by_name(trained: Callable[..., Run], guard: dict[str, Any]) -> None:
    run = trained(
        "guard_eaft", {**guard, "pact": {**guard["pact"], "row_gate": True}, "use_eaft": True, "max_steps": 1}
    )
    assert run.returncode != 0
    assert "use_eaft computes a loss of its own" in run.log
