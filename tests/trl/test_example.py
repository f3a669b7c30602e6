"""``examples/trl/finetune.py`` on rows as people have them, and on real ones where there are any."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pact_lab import tiny_world

pytestmark = [pytest.mark.framework, pytest.mark.matrix]

SCRIPT = Path(__file__).parents[2] / "examples" / "trl" / "finetune.py"
REAL = Path(os.environ.get("PACT_DATA_PATH", "")) / "downstream"


def run(data, output, *options):
    command = [sys.executable, str(SCRIPT), "--model", str(tiny_world.aligned_path()), "--data", str(data)]
    command += ["--output", str(output), "--prompts", "16", "--held-out", "16", *options]
    environment = {**os.environ, "PACT_CACHE_PATH": str(output) + "-cache"}
    finished = subprocess.run(command, capture_output=True, text=True, timeout=1800, env=environment)
    assert finished.returncode == 0, finished.stderr[-3000:]
    return finished.stdout + finished.stderr


def assert_measured_and_protected(printed, output):
    assert "pact/kl" in printed
    for word in ("before", "after", "refused, harmful", "task, exact match"):
        assert word in printed
    assert json.loads((output / "pact.json").read_text())["gradient_receipts"] > 0


def test_instruction_rows(tmp_path):
    rows = [
        {"instruction": "Is this review positive or negative?", "input": f"A {word} film, {i}.", "output": label}
        for i in range(24)
        for word, label in (("lovely", "positive"), ("dull", "negative"))
    ]
    data = tmp_path / "rows.json"
    data.write_text(json.dumps(rows))
    printed = run(data, tmp_path / "out", "--max-length", "128", "--batch-size", "4", "--rows", "40")
    assert_measured_and_protected(printed, tmp_path / "out")


@pytest.mark.parametrize("name", ["sst2_5k.json", "agnews_5k.json"])
@pytest.mark.skipif(not REAL.is_dir(), reason="PACT_DATA_PATH names no folder with downstream/sst2_5k.json")
def test_real_rows(tmp_path, name):
    printed = run(REAL / name, tmp_path / "out", "--max-length", "256")
    assert_measured_and_protected(printed, tmp_path / "out")
