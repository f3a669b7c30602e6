"""``pact bench --grid llamafactory``: one mode of one case as a run of LLaMA-Factory's own ``run_exp``."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from pact_lab import tiny_world
from pact_lab.bench.cases import ASFT, ONLINE_FULL, ONLINE_LORA, PLAIN, Case
from pact_lab.bench.subject import build_model, build_safety_tokens, load_tokenizer
from pact_plugins.files import write_json

_TEMPLATE = "empty"


class FactoryRun(TrainerCallback):
    """A run with the three things that the benchmark asks of a trainer: ``add_callback``, ``train`` and ``model``."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        self._arguments = arguments
        self._callbacks: list[TrainerCallback] = [self]
        self.model: Any = None

    def add_callback(self, callback: TrainerCallback) -> None:
        self._callbacks.append(callback)

    def on_train_begin(self, *_: Any, **kwargs: Any) -> None:
        self.model = kwargs["model"]

    def train(self) -> None:
        from llamafactory.train import tuner

        from pact_llamafactory.activation import install

        install(tuner)
        tuner.run_exp(args=self._arguments, callbacks=self._callbacks)


def build_trainer(case: Case, mode: str, *, steps: int, folder: Path) -> FactoryRun:
    """``steps`` optimizer steps of ``plain`` SFT, of PACT, or of LLaMA-Factory's own reference-KL loss (ASFT).

    Raises:
        ValueError: a mode that LLaMA-Factory does not have.
    """
    model = _model(case, folder)
    tuning = {"finetuning_type": case.training, **({"lora_target": "all"} if case.training == "lora" else {})}
    arguments = {
        "model_name_or_path": str(model),
        "stage": "sft",
        "do_train": True,
        "template": _TEMPLATE,
        "dataset_dir": str(_data(case, steps, folder)),
        "dataset": "rows",
        "cutoff_len": case.sequence_length,
        "overwrite_cache": True,
        "preprocessing_num_workers": 1,
        "output_dir": str(folder / f"run-{mode}"),
        "per_device_train_batch_size": case.batch_size,
        "max_steps": steps,
        "learning_rate": 1e-4,
        "save_strategy": "no",
        "logging_steps": 10,
        "disable_tqdm": True,
        "report_to": "none",
        "seed": 0,
        **tuning,
    }
    if mode == ASFT:
        arguments |= {"use_asft_loss": True, "ref_model": str(model)}
    elif mode in (ONLINE_LORA, ONLINE_FULL):
        tokens = build_safety_tokens(case, load_tokenizer()).save(folder / "safety_tokens.safetensors")
        block = {"safety_tokens": {"file": str(tokens)}, "reference": {"cache_path": str(folder / "cache")}}
        arguments |= {"stage": "pact", "pact": block}
    elif mode != PLAIN:
        raise ValueError(f"unknown mode {mode!r}")
    return FactoryRun(arguments)


def _model(case: Case, folder: Path) -> Path:
    """The case's model with random weights, saved once."""
    path = folder / "model"
    if not path.is_dir():
        build_model(case).save_pretrained(path)
        load_tokenizer().save_pretrained(path)
    return path


def _data(case: Case, steps: int, folder: Path) -> Path:
    """Rows longer than ``sequence_length``, question and answer alike, which LLaMA-Factory cuts to it."""
    path = folder / "data"
    if not path.is_dir():
        path.mkdir()
        generator = random.Random(0)
        sentences = [row["prompt"] for row in tiny_world.refusal_pairs(64, seed=0)]

        def text() -> str:
            return " ".join(generator.choices(sentences, k=case.sequence_length // 4))

        rows = [{"instruction": text(), "input": "", "output": text()} for _ in range(steps * case.batch_size)]
        write_json(path / "rows.json", rows)
        write_json(path / "dataset_info.json", {"rows": {"file_name": "rows.json"}})
    return path
