"""Commands that read JSON and hash files import nothing that takes seconds."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.helpers.trainers import python_path
from tests.reliability.test_damaged_files import run_folder

# Each takes between a second and a quarter of a minute.
HEAVY = ("torch", "transformers", "peft", "accelerate", "datasets", "trl", "lm_eval", "scipy", "pandas", "matplotlib")
PROGRAM = f"""
import sys
from pact_plugins.cli.main import main
try:
    main()
finally:
    print("imported:", sorted(set({HEAVY}) & set(sys.modules)))
"""


@pytest.mark.parametrize("command", ["verify", "card"])
def test_a_command_that_only_reads_imports_no_torch(tmp_path, command):
    folder = run_folder(tmp_path / "out")
    for status in (0, 1):
        call = [sys.executable, "-c", PROGRAM, command, str(folder)]
        ended = subprocess.run(call, env=python_path(), capture_output=True, text=True)
        assert ended.returncode == status, ended.stderr
        assert "imported: []" in ended.stdout
        (folder / "adapter_model.safetensors").write_bytes(b"")


@pytest.mark.parametrize(
    "block", ["pcat: {preset: match}", "pact: {preset: match, trem: true}", "pact: {presett: off}"]
)
def test_a_misspelt_key_is_told_before_anything_is_imported(tmp_path, block):
    (tmp_path / "run.yaml").write_text(f"model_name_or_path: model\ndataset_name: data\n{block}\n")
    call = [sys.executable, "-c", PROGRAM, "train", "trl", str(tmp_path / "run.yaml")]
    ended = subprocess.run(call, env=python_path(), capture_output=True, text=True)
    assert ended.returncode == 2
    assert "did you mean" in ended.stderr
    assert "imported: []" in ended.stdout
