"""What a stranger's package does in the commands that people run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import yaml

from pact_lab import tiny_world
from pact_plugins.settings import merged
from tests.helpers.trainers import python_path


class Stranger:
    """Somebody's package on the path, and the commands that use it.

    Args:
        folder: where commands run.
        site: folders that hold the package and its metadata.
    """

    def __init__(self, folder: Path, *site: Path) -> None:
        self.folder = folder
        self.site = site[0]
        self._path = os.pathsep.join(map(str, site))

    def run(self, *arguments: str, cwd: Path | None = None) -> str:
        """This interpreter with the package: what it prints."""
        environment = python_path()
        environment["PYTHONPATH"] += os.pathsep + self._path
        finished = subprocess.run(
            [sys.executable, *arguments],
            env={**environment, "PACT_CACHE_PATH": str(self.folder / "cache"), "COLUMNS": "200"},
            capture_output=True,
            text=True,
            cwd=cwd or self.folder,
            check=False,
        )
        assert finished.returncode == 0, finished.stdout[-3000:] + finished.stderr[-3000:]
        return finished.stdout

    def pact(self, *arguments: str) -> str:
        """The ``pact`` command: what it prints."""
        return self.run("-m", "pact_plugins", *arguments)

    def prompts(self) -> Path:
        """A file of harmful requests to calibrate with."""
        file = self.folder / "prompts.json"
        file.write_text(json.dumps(tiny_world.harmful_prompts(48, seed=21, split="train")))
        return file

    def train(self, pact: dict[str, object]) -> tuple[str, dict[str, object]]:
        """Two steps of ``pact train trl``: what it printed, and ``pact.json``."""
        (self.folder / "data").mkdir()
        rows = tiny_world.finetuning_rows(32, seed=0)
        (self.folder / "data" / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
        settings = {
            "model_name_or_path": str(tiny_world.aligned_path()),
            "dataset_name": str(self.folder / "data"),
            "output_dir": str(self.folder / "out"),
            "use_peft": True,
            "use_cpu": True,
            "bf16": False,
            "max_steps": 2,
            "logging_steps": 1,
            "report_to": "none",
            "save_strategy": "no",
            "pact": merged({"safety_tokens": {"harmful_prompts_path": str(self.prompts()), "batch_size": 48}}, pact),
        }
        (self.folder / "config.yaml").write_text(yaml.safe_dump(settings))
        printed = self.pact("train", "trl", "config.yaml")
        return printed, json.loads((self.folder / "out" / "pact.json").read_text())
