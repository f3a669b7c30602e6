"""Axolotl: killed at random moments and resumed by itself, a run ends bit for bit as if nothing had happened."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pact_lab import tiny_world
from tests.axolotl import runs
from tests.reliability.counts import record
from tests.reliability.kills import Training, killed_and_resumed
from tests.reliability.modes import COMBINATIONS, KEPT, KILLS, SAVE_EVERY, STEPS, pact_settings

pytestmark = [pytest.mark.reliability, pytest.mark.timeout(7200)]


def block_of(folder: Path, mode: str) -> dict[str, Any]:
    """Written in a fork: a parent that has run a model may not fork any more without its threads."""
    folder.mkdir(parents=True)

    def write() -> None:
        (folder / "block.json").write_text(json.dumps(pact_settings(folder / "files", mode)))

    runs.in_fork(folder, write).succeeded()
    return json.loads((folder / "block.json").read_text())


@pytest.mark.parametrize(("trained", "mode"), COMBINATIONS)
def test_killed_and_resumed(tmp_path: Path, trained: str, mode: str) -> None:
    settings = {
        **runs.BASE,
        **(runs.LORA if trained == "lora" else {}),
        "plugins": [runs.PLUGIN],
        "pact": block_of(tmp_path / "block", mode),
        "max_steps": STEPS,
        "micro_batch_size": 2,
        "gradient_accumulation_steps": 2,
        "save_strategy": "steps",
        "save_steps": SAVE_EVERY,
        "save_total_limit": KEPT,
        "auto_resume_from_checkpoints": True,
    }
    rows = tiny_world.finetuning_rows(80, harmful_fraction=0.1, seed=1)
    for name in ("run", "whole"):
        runs.prepare(tmp_path / name, settings, rows)
    runs.import_axolotl()
    run, whole = (Training(tmp_path / name, runs.train) for name in ("run", "whole"))
    found = killed_and_resumed(run, whole, kills=KILLS, seed=200 + COMBINATIONS.index((trained, mode)))
    assert found.kills == KILLS
    record(f"kills, Axolotl, {trained}, {mode}", **found.counts())
