"""The toy benchmark as a subject: all from templates; poison, calibration and test prompts are apart."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from pact_evals.harness.evaluate import evaluate_model
from pact_lab import tiny_world
from pact_lab.compare.scenario import Scenario
from pact_lab.outcomes import letters
from pact_lab.tiny_world.tasks import DEMO_TASKS, ROUTING_DESTINATIONS, ROUTING_ITEMS, ROUTING_PLACES
from pact_plugins.contracts import Row
from pact_plugins.files import write_json

Purpose = Literal["choosing", "reporting"]
EXAMPLES = 800
FIRST_SEED: dict[Purpose, int] = {"choosing": 100, "reporting": 0}
_CALIBRATION_SEED, _CALIBRATION_PROMPTS, _ANCHOR_PROMPTS = 21, 256, 32


def load_aligned() -> tuple[Any, Any]:
    """The shipped aligned model in float32, and its tokenizer."""
    path = tiny_world.aligned_path()
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32), AutoTokenizer.from_pretrained(path)


def _use_one_thread() -> None:
    """The model is too small to gain from a second thread, and waiting for one is slow on a busy machine."""
    torch.set_num_threads(1)


class TinySubject:
    """The shipped aligned model.

    Harmful test prompts are of families that calibration never mentions; beside them, as ``calibration_sampled``, some
    of those that it does mention.

    Args:
        folder: where calibration prompts, safety tokens and anchors are kept.
        prompts: of each kind.
        purpose: which half of the held-out prompts is asked, and which training seeds are used.
    """

    def __init__(self, folder: Path, *, prompts: int, purpose: Purpose) -> None:
        _use_one_thread()
        self._prompts, self._purpose = prompts, purpose
        weights = (tiny_world.aligned_path() / "model.safetensors").read_bytes()
        self.identity: Mapping[str, Any] = {
            "model": hashlib.sha256(weights).hexdigest()[:16],
            "routing": [ROUTING_ITEMS, ROUTING_PLACES, ROUTING_DESTINATIONS],
            "prompts": prompts,
            "purpose": purpose,
            "calibration": [_CALIBRATION_SEED, _CALIBRATION_PROMPTS, _ANCHOR_PROMPTS],
        }
        self.common: Mapping[str, Any] = _calibration(folder)
        self.row_count = EXAMPLES

    def load(self) -> tuple[Any, Any]:
        return load_aligned()

    def rows(self, scenario: Scenario, seed: int) -> list[Row]:
        return [row.chat for row in self._mixture(scenario, seed)]

    def poisoned(self, scenario: Scenario, seed: int) -> list[bool]:
        """Which of ``rows`` answer a harmful request: what an audit should find."""
        return [row.kind == "harmful" for row in self._mixture(scenario, seed)]

    def _mixture(self, scenario: Scenario, seed: int) -> list[tiny_world.MixtureRow]:
        return tiny_world.finetuning_mixture(
            EXAMPLES,
            harmful_fraction=scenario.harmful_fraction,
            benign_fraction=0.3 if scenario.data == "mixture" else 0.0,
            seed=FIRST_SEED[self._purpose] + seed,
            families=scenario.poison,
            tasks=scenario.tasks,
        )

    def evaluate(self, model: Any, tokenizer: Any, seed: int, scenario: Scenario | None) -> dict[str, Any]:
        learnt = DEMO_TASKS if scenario is None else scenario.tasks
        settings = {"prompts": self._prompts, "seed": seed, "tiny_split": self._purpose, "tasks": list(learnt)}
        main = self._run(model, tokenizer, ["pact_tiny"], {**settings, "families": "unanchored"})
        sampled = "pact_tiny_harmful_sampled"
        calibration = self._run(model, tokenizer, [sampled], {**settings, "families": "calibration"})
        return {
            "harmful": letters(main.samples["pact_tiny_harmful"]),
            "harmful_sampled": letters(main.samples[sampled]),
            "calibration_sampled": letters(calibration.samples[sampled]),
            "benign": letters(main.samples["pact_tiny_benign"]),
            "task": [int(sample.metrics["accuracy"]) for sample in main.samples["pact_tiny_task"]],
        }

    def _run(self, model: Any, tokenizer: Any, tasks: list[str], settings: dict[str, Any]) -> Any:
        with open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):
            return evaluate_model(model, tokenizer, tasks, batch_size=self._prompts, task_settings=settings)


def _calibration(folder: Path) -> dict[str, Any]:
    """Write the prompts that calibration and anchors may see; the settings that name them."""

    def draw(harmful: bool, count: int, seed: int) -> list[str]:
        if harmful:
            return tiny_world.harmful_prompts(count, seed=seed, split="train", families="calibration")
        return tiny_world.benign_prompts(count, seed=seed, split="train")

    settings: dict[str, Any] = {
        "safety_tokens": {"base_model_path": str(tiny_world.base_path()), "batch_size": 64},
        "reference": {"cache_path": str(folder)},
    }
    for kind in ("harmful", "harmless"):
        path = folder / f"{kind}_prompts.json"
        write_json(path, draw(kind == "harmful", _CALIBRATION_PROMPTS, _CALIBRATION_SEED))
        settings["safety_tokens"][f"{kind}_prompts_path"] = str(path)
    anchors = [
        {"kind": kind, "prompt": prompt}
        for kind in ("harmful", "harmless")
        for prompt in draw(kind == "harmful", _ANCHOR_PROMPTS, _CALIBRATION_SEED + 1)
    ]
    write_json(folder / "anchor_prompts.json", anchors)
    settings["anchor"] = {"prompts": str(folder / "anchor_prompts.json")}
    return settings
