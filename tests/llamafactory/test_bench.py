"""The benchmark's runs of LLaMA-Factory: three modes in turn, in one process, on the same rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pact_lab.bench.cases import ASFT, ONLINE_LORA, PLAIN, Case
from pact_lab.bench.llamafactory import build_trainer
from pact_lab.bench.turns import take_turns

pytestmark = [pytest.mark.framework, pytest.mark.matrix]

CASE = Case(size="tiny", vocab_size=8192, sequence_length=64, safety_tokens=10, framework="llamafactory")


def test_plain_pact_and_asft_take_turns(tmp_path: Path) -> None:
    runs = {mode: build_trainer(CASE, mode, steps=3, folder=tmp_path) for mode in CASE.modes}
    assert list(runs) == [PLAIN, ASFT, ONLINE_LORA]
    timings = take_turns(runs, warmup=1, steps=2)
    assert all(len(timing.wall) == 2 and min(timing.wall) > 0 for timing in timings.values())
    # The protected run, and only that one, was protected.
    assert json.loads((tmp_path / f"run-{ONLINE_LORA}" / "pact.json").read_text())["optimizer_steps_protected"] == 3
    assert not any((tmp_path / f"run-{mode}" / "pact.json").exists() for mode in (PLAIN, ASFT))
    logs = {mode: (tmp_path / f"run-{mode}" / "trainer_state.json").read_text() for mode in runs}
    assert len(set(logs.values())) == 3


def test_a_mode_that_llamafactory_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="naive"):
        build_trainer(CASE, "naive", steps=1, folder=tmp_path)
