"""The drift watch, switched on by the YAML alone: it stops LLaMA-Factory's training, and keeps the best checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.watched_world import drifting_rows, watch_settings
from tests.llamafactory import runs

pytestmark = pytest.mark.framework


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    rows = [
        {"instruction": row["prompt"][-1]["content"], "input": "", "output": row["completion"][-1]["content"]}
        for row in drifting_rows()
    ]
    (folder / "rows.json").write_text(json.dumps(rows))
    (folder / "dataset_info.json").write_text(json.dumps({"rows": {"file_name": "rows.json"}}))
    return folder


def test_drift_stops_training(settings: dict[str, Any], tmp_path: Path, data: Path) -> None:
    saving = {"save_strategy": "steps", "save_steps": 1, "save_total_limit": 1}
    training = {"max_steps": 12, "learning_rate": 5e-4, "finetuning_type": "full", "logging_steps": 100}
    block = watch_settings(tmp_path, every=2, stop_if_drift=0.5, keep_best=True)
    run = runs.train(settings, pact=block, dataset_dir=str(data), **saving, **training)
    drifts = run.logged("pact/drift")
    assert all(drift <= 0.5 for drift in drifts[:-1])
    assert drifts[-1] > 0.5
    assert len(drifts) < 6
    record = run.record
    assert record is not None
    assert record["drift_watch"]["stopped_at"] == 2 * len(drifts)
    best = f"checkpoint-{2 * len(drifts) - 2}"
    assert record["drift_watch"]["best_checkpoint"] == best
    assert [path.name for path in Path(settings["output_dir"]).glob("checkpoint-*")] == [best]
