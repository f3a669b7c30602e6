"""The toy benchmark under the drift watch: a ``pact:`` block that watches, and rows that make the model drift."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pact_lab import tiny_world
from tests.helpers.guarded_world import guard_settings


def watch_settings(folder: Path, **drift_watch: Any) -> dict[str, Any]:
    """A ``pact:`` block that adds nothing to the loss and looks at eight requests of each of two kinds."""
    draws = {"harmful": tiny_world.harmful_prompts, "plain": tiny_world.benign_prompts}
    rows = [
        {"prompt": text, "kind": kind} for kind, draw in draws.items() for text in draw(8, seed=31, split="reporting")
    ]
    (folder / "watched.json").write_text(json.dumps(rows))
    return {
        "preset": "off",
        "safety_tokens": guard_settings(folder)["safety_tokens"],
        "drift_watch": {"prompts_path": str(folder / "watched.json"), **drift_watch},
    }


def drifting_rows(count: int = 120) -> list[dict[str, Any]]:
    """Rows of a task, nearly a third of them harmful requests with compliant answers."""
    return tiny_world.finetuning_rows(count, harmful_fraction=0.3, seed=1)
