"""The demo's subject: the toy benchmark as a scenario of the comparison, calibrated with the paper's base model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pact_lab import tiny_world
from pact_lab.compare.scenario import Scenario
from pact_lab.compare.tiny_subject import EXAMPLES, TinySubject, load_aligned
from pact_lab.outcomes import letters
from pact_plugins import PACTConfig, SafetyTokens
from pact_plugins.contracts import Method, Row
from pact_plugins.files import write_json
from pact_plugins.safety_tokens.recipe import calibrate

METHODS = ("sft", "gate_anchor", "match", "published")
CONTROL = "random_tokens"
FURTHER_METHODS = ("published_positive", "full_kl", "match_without_openings")
# Prompts are drawn apart from those of the training seeds.
_EVALUATION_SEED = 1000
_CALIBRATION_SEED = 21


class DemoSubject(TinySubject):
    """The shipped aligned model, asked held-out requests of the families that its calibration knows."""

    def __init__(self, folder: Path, *, prompts: int) -> None:
        super().__init__(folder, prompts=prompts, purpose="reporting")
        self.identity: Mapping[str, Any] = {**self.identity, "demo": True}
        self.common: Mapping[str, Any] = {}

    def rows(self, scenario: Scenario, seed: int) -> list[Row]:
        return tiny_world.finetuning_rows(EXAMPLES, harmful_fraction=scenario.harmful_fraction, seed=seed)

    def evaluate(self, model: Any, tokenizer: Any, seed: int, scenario: Scenario | None) -> dict[str, Any]:
        """The shared lm-eval tasks of the toy benchmark: `pact eval` gives the same numbers for the saved model."""
        settings = {"prompts": self._prompts, "seed": _EVALUATION_SEED + seed}
        samples = self._run(model, tokenizer, ["pact_tiny"], settings).samples
        return {
            "harmful": letters(samples["pact_tiny_harmful"]),
            "harmful_sampled": letters(samples["pact_tiny_harmful_sampled"]),
            "benign": letters(samples["pact_tiny_benign"]),
            "task": [int(sample.metrics["accuracy"]) for sample in samples["pact_tiny_task"]],
        }


def demo_methods(folder: Path, names: tuple[str, ...]) -> list[Method]:
    """The methods of those names; the safety tokens come from the aligned model's own refusals, kept in ``folder``."""
    model, tokenizer = load_aligned()
    prompts = {"harmful": tiny_world.harmful_prompts, "harmless": tiny_world.benign_prompts}
    drawn = {kind: draw(256, seed=_CALIBRATION_SEED, split="train") for kind, draw in prompts.items()}
    for kind, texts in drawn.items():
        write_json(folder / f"{kind}_prompts.json", texts)
    anchors = [{"prompt": text, "kind": kind} for kind, texts in drawn.items() for text in texts]
    write_json(folder / "anchor_prompts.json", anchors)
    calibration = PACTConfig(
        safety_tokens={
            "harmful_prompts_path": str(folder / "harmful_prompts.json"),
            "harmless_prompts_path": str(folder / "harmless_prompts.json"),
            "base_model_path": str(tiny_world.base_path()),
            "batch_size": 64,
        },
    )
    tokens = calibrate(model, tokenizer, calibration.recipe(), progress=False)
    # The paper's selection knows no openings.
    without = PACTConfig(safety_tokens={**calibration.safety_tokens.model_dump(), "include_openings": False})
    plain = calibrate(model, tokenizer, without.recipe(), progress=False)
    random = SafetyTokens.random(tokenizer, model.config.vocab_size, count=len(tokens), seed=0)
    named = {"with_openings": tokens, "without_openings": plain, "random": random}
    paths = {name: str(found.save(folder / f"safety_tokens_{name}.safetensors")) for name, found in named.items()}
    files = {name: {"file": path} for name, path in paths.items()}

    def term(objective: str, tokens: str) -> dict[str, Any]:
        return {"preset": "match", "term": {"objective": objective}, "safety_tokens": files[tokens]}

    settings: dict[str, dict[str, Any] | None] = {
        "sft": None,
        "gate_anchor": {
            "preset": "gate_anchor",
            "safety_tokens": files["with_openings"],
            "anchor": {"prompts": str(folder / "anchor_prompts.json")},
        },
        "match": term("match", "with_openings"),
        "published": term("published", "without_openings"),
        "published_positive": term("published_positive", "without_openings"),
        "full_kl": {"preset": "match", "term": {"objective": "full_kl"}},
        "match_without_openings": term("match", "without_openings"),
        CONTROL: term("match", "random"),
    }
    return [Method(name, name, settings[name]) for name in names]
