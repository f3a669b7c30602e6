"""LLaMA-Factory: killed at random moments and resumed by itself, a run ends as if nothing had happened."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.llamafactory import runs
from tests.reliability.counts import record
from tests.reliability.kills import Training, killed_and_resumed
from tests.reliability.modes import COMBINATIONS, KEPT, KILLS, SAVE_EVERY, STEPS, pact_settings

pytestmark = [pytest.mark.reliability, pytest.mark.timeout(7200)]


def train(settings: dict[str, Any]) -> None:
    import torch

    torch.set_num_threads(1)
    runs.train(settings)


@pytest.mark.parametrize(("trained", "mode"), COMBINATIONS)
def test_killed_and_resumed(tmp_path: Path, settings: dict[str, Any], trained: str, mode: str) -> None:
    # Imported before the forks, which then start in a moment.
    from llamafactory.train import tuner  # noqa: F401

    training = {
        "pact": pact_settings(tmp_path / "files", mode),
        "finetuning_type": trained,
        "output_dir": "out",
        "max_steps": STEPS,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2,
        "save_strategy": "steps",
        "save_steps": SAVE_EVERY,
        "save_total_limit": KEPT,
    }
    start = partial(train, {**settings, **training})
    run, whole = Training(tmp_path / "run", start), Training(tmp_path / "whole", start)
    found = killed_and_resumed(run, whole, kills=KILLS, seed=100 + COMBINATIONS.index((trained, mode)))
    assert found.kills == KILLS
    record(f"kills, LLaMA-Factory, {trained}, {mode}", **found.counts())
