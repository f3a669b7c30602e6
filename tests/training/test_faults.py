"""Every fault stops training before the optimizer moves, with its cause in words, or is shown to be harmless."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from pact_plugins.errors import PACTError
from pact_plugins.verification import verify
from tests.helpers.trainers import hooks_on, weights_of
from tests.training import faults

pytestmark = pytest.mark.framework

PAGE = Path(__file__).resolve().parents[2] / "benchmarks" / "reliability.md"
STOPPING = [name for name, fault in faults.FAULTS.items() if fault.outcome != faults.HARMLESS]
HARMLESS = [name for name, fault in faults.FAULTS.items() if fault.outcome == faults.HARMLESS]


@pytest.mark.parametrize("name", STOPPING)
def test_training_stops(tmp_path, name):
    fault = faults.FAULTS[name]
    trainer = faults.trainer_of(fault, tmp_path)
    before = weights_of(trainer) if name != "used adapter" else None
    fault.inject(trainer)
    with pytest.raises(PACTError, match=fault.outcome):
        trainer.train()
    assert trainer.state.global_step == fault.at_step
    if fault.at_step == 0 and before is not None:
        assert all(torch.equal(before[key], value) for key, value in weights_of(trainer).items())
    assert not (tmp_path / "pact.json").exists()
    assert not verify(tmp_path).is_protected


@pytest.mark.parametrize("name", HARMLESS)
def test_training_goes_on_protected(tmp_path, name):
    fault = faults.FAULTS[name]
    trainer = faults.trainer_of(fault, tmp_path)
    fault.inject(trainer)
    trainer.train()
    assert trainer.state.global_step == 3
    record = json.loads((tmp_path / "pact.json").read_text())
    assert record["optimizer_steps_protected"] == (6 if name == "twice" else 3)
    trainer.save_model()
    assert verify(tmp_path).problems == []
    assert not [hook for hook in hooks_on(trainer.model) if hook.__module__.startswith("pact_plugins")]


def test_the_page_shows_them_all():
    assert len(faults.FAULTS) >= 25
    assert faults.table() in PAGE.read_text(encoding="utf-8"), faults.table()
