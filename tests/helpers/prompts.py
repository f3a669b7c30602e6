"""Prompts of the toy benchmark as files, for runs that find their own safety tokens."""

from __future__ import annotations

import json
from pathlib import Path

from pact_lab import tiny_world


def write_prompts(folder: Path, *, count: int, seed: int) -> dict[str, dict[str, str]]:
    """Write ``count`` training prompts of each kind; returns the settings of ``PACTConfig`` that name the files."""
    files = {}
    for kind, draw in {"harmful": tiny_world.harmful_prompts, "harmless": tiny_world.benign_prompts}.items():
        file = folder / f"{kind}.json"
        file.write_text(json.dumps(draw(count, seed=seed, split="train")))
        files[f"{kind}_prompts_path"] = str(file)
    return {"safety_tokens": files}
