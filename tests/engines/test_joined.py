"""Replies in the trainer's own pass move every parameter as those in a pass of their own, on two ranks as well."""

from __future__ import annotations

import pytest

from tests.engines import launching
from tests.engines.conftest import read
from tests.engines.test_collectives import ANCHOR

pytestmark = [pytest.mark.framework, pytest.mark.matrix]
LORA = {"adapter": "lora", "learning_rate": 0.5}
LAYOUTS = {
    "padded": LORA,
    "checkpointing": {**LORA, "gradient_checkpointing": True},
    "packed": {**LORA, "packing": True, "max_length": 64},
    "full": {"learning_rate": 0.05},
}


@pytest.mark.parametrize("engine", ["ddp", "fsdp2"])
def test_every_parameter_moves_alike(tmp_path, checkpoints, engine):
    cases = {}
    for name, settings in LAYOUTS.items():
        path = None if "adapter" in settings else checkpoints[1]
        case = {"model": checkpoints[0], "config": {**ANCHOR, "reference": {"path": path}}, "max_steps": 3, **settings}
        cases |= {f"{name} {joins}": {**case, "joins": joins} for joins in (True, False)}
    launching.start(engine, tmp_path, cases)
    for name in LAYOUTS:
        found, facts = read(tmp_path / f"{name} True")
        expected, _ = read(tmp_path / f"{name} False")
        assert facts["processes"] == 2
        assert bool(facts["dtensors"]) == (engine == "fsdp2")
        assert facts["logs"][-2]["pact/anchor_kl"] > 1e-6
        moved = max(float((value - expected[f"0.{key[2:]}"]).abs().max()) for key, value in expected.items())
        assert moved > 0.01
        for key, value in expected.items():
            assert float((found[key] - value).abs().max()) < 2e-6 * max(1.0, moved), (name, key)
