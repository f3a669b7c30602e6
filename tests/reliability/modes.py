"""What is killed: every way to ask the reference, on the toy benchmark, trained with an adapter or in full."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pact_plugins.settings import merged
from tests.helpers.guarded_world import guard_settings
from tests.helpers.prompts import write_prompts

STEPS, SAVE_EVERY, KEPT = 60, 3, 3
KILLS = 5
# Guard reads a cached reference, and keeps anchors beside it.
COMBINATIONS = (("lora", "online"), ("lora", "guard"), ("full", "online"), ("full", "cache"))


def pact_settings(files: Path, mode: str) -> dict[str, Any]:
    """The ``pact:`` block of one mode; what it names is written into ``files``, the cache is the run's own."""
    files.mkdir(parents=True, exist_ok=True)
    if mode == "guard":
        return merged(guard_settings(files), {"reference": {"kind": "cache", "cache_path": "cache"}})
    # Calibrated in the run itself, so that it can be killed there.
    calibrated = {"safety_tokens": {"top_k": 24, "batch_size": 48}}
    reference = {"kind": "cache" if mode == "cache" else "auto", "cache_path": "cache"}
    return merged(write_prompts(files, count=48, seed=3), calibrated, {"reference": reference})
