"""The demo from start to end: calibrate, fine-tune with each method and seed, evaluate, write the results."""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import transformers
from tqdm.auto import tqdm

from pact_evals.harness.evaluate import evaluate_model, tiny_summary
from pact_plugins import PACTConfig, SafetyTokens, tiny_world
from pact_plugins.files import write_json
from pact_plugins.safety_tokens.recipe import calibrate
from pact_trl.demo import finetuning
from pact_trl.demo.tuning import Tuning

METHODS = ("sft", "match", "published")
CONTROL = "random_tokens"
FURTHER_METHODS = ("published_positive", "full_kl", "match_without_openers")
# Prompts are drawn apart from those of the training seeds.
_EVALUATION_SEED = 1000
_CALIBRATION_SEED = 21
# An evaluation takes about as long as this many training steps.
_EVALUATION_STEPS = 50


@dataclass(frozen=True)
class DemoSettings:
    """What ``pact demo`` was asked to do."""

    output_path: Path
    seeds: int
    prompts: int
    harmful_fraction: float
    control: bool = False
    all_methods: bool = False

    @property
    def methods(self) -> tuple[str, ...]:
        """Every method that is trained."""
        control = (CONTROL,) if self.control or self.all_methods else ()
        return (*METHODS, *(FURTHER_METHODS if self.all_methods else ()), *control)


def run(settings: DemoSettings) -> dict[str, Any]:
    """Run the demo and write ``results.json``, anew after each fine-tuning; returns its content."""
    settings.output_path.mkdir(parents=True, exist_ok=True)
    per_method = Tuning().steps(finetuning.EXAMPLES) + _EVALUATION_STEPS
    total = settings.seeds * (_EVALUATION_STEPS + len(settings.methods) * per_method)
    runs: list[dict[str, Any]] = []
    results = {"settings": _described(settings), "versions": _versions(), "runs": runs}
    finetuning.use_one_thread()
    with quiet(), tqdm(total=total, desc="calibrating", unit="it", dynamic_ncols=True) as bar:
        configs = _configurations(settings)
        for seed in range(settings.seeds):
            bar.set_description(f"seed {seed}, aligned")
            runs.append(_evaluate("aligned", seed, *finetuning.load_aligned(), settings, bar))
            for method in settings.methods:
                bar.set_description(f"seed {seed}, {method}")
                finetuned = finetuning.finetune(
                    configs[method],
                    seed=seed,
                    harmful_fraction=settings.harmful_fraction,
                    output_path=settings.output_path / f"{method}-seed{seed}",
                    advance=bar.update,
                )
                row = _evaluate(method, seed, finetuned.model, finetuned.tokenizer, settings, bar)
                runs.append({**row, "train_seconds": round(finetuned.seconds, 2), "log": finetuned.log})
                # What is finished survives an interruption.
                write_json(settings.output_path / "results.json", results)
    return results


def _configurations(settings: DemoSettings) -> dict[str, PACTConfig | None]:
    """One configuration per method; the safety tokens come from the aligned model's own refusals."""
    model, tokenizer = finetuning.load_aligned()
    folder = settings.output_path
    prompts = {"harmful": tiny_world.harmful_prompts, "harmless": tiny_world.benign_prompts}
    for kind, draw in prompts.items():
        write_json(folder / f"{kind}_prompts.json", draw(256, seed=_CALIBRATION_SEED, split="train"))
    calibration = PACTConfig(
        harmful_prompts_path=str(folder / "harmful_prompts.json"),
        harmless_prompts_path=str(folder / "harmless_prompts.json"),
        base_model_path=str(tiny_world.base_path()),
        calibration_batch_size=64,
    )
    tokens = calibrate(model, tokenizer, calibration, progress=False)
    # The paper's selection knows no openers.
    plain = calibrate(model, tokenizer, calibration.model_copy(update={"include_openers": False}), progress=False)
    random = SafetyTokens.random(tokenizer, model.config.vocab_size, count=len(tokens), seed=0)
    named = {"with_openers": tokens, "without_openers": plain, "random": random}
    paths = {name: str(found.save(folder / f"safety_tokens_{name}.safetensors")) for name, found in named.items()}
    return {
        "sft": None,
        "match": PACTConfig(objective="match", safety_tokens=paths["with_openers"]),
        "published": PACTConfig(objective="published", safety_tokens=paths["without_openers"]),
        "published_positive": PACTConfig(objective="published_positive", safety_tokens=paths["without_openers"]),
        "full_kl": PACTConfig(objective="full_kl"),
        "match_without_openers": PACTConfig(objective="match", safety_tokens=paths["without_openers"]),
        CONTROL: PACTConfig(objective="match", safety_tokens=paths["random"]),
    }


def _evaluate(
    method: str, seed: int, model: Any, tokenizer: Any, settings: DemoSettings, bar: tqdm[Any]
) -> dict[str, Any]:
    """The shared lm-eval tasks of the tiny world: `pact eval` gives the same numbers for the saved model."""
    with open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):
        evaluation = evaluate_model(
            model,
            tokenizer,
            ["pact_tiny"],
            batch_size=settings.prompts,
            task_settings={"prompts": settings.prompts, "seed": _EVALUATION_SEED + seed},
        )
    bar.update(_EVALUATION_STEPS)
    return {"method": method, "seed": seed, **tiny_summary(evaluation), "prompts": settings.prompts}


def _described(settings: DemoSettings) -> dict[str, Any]:
    return {
        "seeds": settings.seeds,
        "prompts": settings.prompts,
        "harmful_fraction": settings.harmful_fraction,
        "examples": finetuning.EXAMPLES,
        "epochs": Tuning().epochs,
        "batch_size": Tuning().batch_size,
        "methods": list(settings.methods),
    }


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("pact-plugins", "torch", "transformers", "trl", "peft", "lm-eval")}


@contextmanager
def quiet() -> Any:
    """One progress bar for everything: the trainers' own lines would tear it apart."""
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    import datasets

    datasets.disable_progress_bars()
    loggers = [logging.getLogger(name) for name in ("pact_plugins", "lm_eval")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        transformers.logging.set_verbosity(verbosity)
        transformers.utils.logging.enable_progress_bar()
        datasets.enable_progress_bars()
