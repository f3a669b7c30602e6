"""`axolotl pact eval`: which two models it takes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pact_axolotl.evaluation import evaluate
from pact_lab.tiny_world import aligned_path


@pytest.mark.framework
def test_the_base_model_of_the_command_line_replaces_the_one_of_the_yaml(tmp_path: Path) -> None:
    """As in the quick start: the example's YAML cannot name the folder that the package was installed into."""
    shutil.copytree(aligned_path(), tmp_path / "out")
    file = tmp_path / "config.yml"
    file.write_text(f"base_model: aligned\noutput_dir: {tmp_path / 'out'}\n")
    options = ["--base-model", str(aligned_path()), "--tasks", "pact_tiny_benign", "--limit", "2"]
    assert evaluate([str(file), *options]) == 0
    for label in ("before", "trained"):
        (file,) = (tmp_path / "out/pact_eval" / label).glob("results_*.json")
        assert json.loads(file.read_text())["results"]["pact_tiny_benign"]["compliance,none"] == 1.0
