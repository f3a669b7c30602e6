"""The drift watch, switched on by the YAML alone: it stops Axolotl's training, and keeps the best checkpoint."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.axolotl.runs import PLUGIN, Run, in_fork
from tests.helpers.watched_world import drifting_rows, watch_settings

pytestmark = pytest.mark.framework


def test_drift_stops_training(workplace: Path, trained: Callable[..., Run]) -> None:
    folder = workplace / "watch_files"
    folder.mkdir()

    def write() -> None:
        block = watch_settings(folder, every=2, stop_if_drift=0.5, keep_best=True)
        (folder / "block.json").write_text(json.dumps(block))

    in_fork(folder, write).succeeded()
    saving = {"save_strategy": "steps", "save_steps": 1, "save_total_limit": 1}
    training = {"max_steps": 12, "learning_rate": 5e-4, "warmup_steps": 1, "logging_steps": 100}
    pact = {"plugins": [PLUGIN], "pact": json.loads((folder / "block.json").read_text())}
    run = trained("watched", {**pact, **saving, **training}, drifting_rows()).succeeded()
    found = [entry for entry in run.history if "pact/drift" in entry]
    assert found[0]["step"] == 0
    assert all(entry["pact/drift"] <= 0.5 for entry in found[:-1])
    assert found[-1]["pact/drift"] > 0.5
    assert found[-1]["step"] < 12
    assert run.record["drift_watch"]["stopped_at"] == found[-1]["step"]
    best = f"checkpoint-{found[-2]['step']}"
    assert run.record["drift_watch"]["best_checkpoint"] == best
    assert [path.name for path in run.output.glob("checkpoint-*")] == [best]
