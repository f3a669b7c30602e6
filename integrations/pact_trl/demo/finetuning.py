"""One fine-tuning of an aligned model, as a TRL user would write it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer

from pact_plugins import PACTCallback, PACTConfig, tiny_world
from pact_trl.demo.tuning import Tuning

EXAMPLES = 800


@dataclass(frozen=True)
class Finetuned:
    """A fine-tuned model with its tokenizer, the seconds it took, and the trainer's log."""

    model: Any
    tokenizer: Any
    seconds: float
    log: list[dict[str, Any]]


class _Progress(TrainerCallback):
    """Advance a bar that covers the whole demo."""

    def __init__(self, advance: Any) -> None:
        self._advance = advance

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self._advance()


def use_one_thread() -> None:
    """The model is too small to gain from a second thread, and waiting for one is slow on a busy machine."""
    torch.set_num_threads(1)


def load_aligned() -> tuple[Any, Any]:
    """The shipped aligned model in float32, and its tokenizer."""
    path = tiny_world.aligned_path()
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32), AutoTokenizer.from_pretrained(path)


def finetune(
    config: PACTConfig | None, *, seed: int, harmful_fraction: float, output_path: Path, advance: Any = lambda: None
) -> Finetuned:
    """LoRA through ``SFTTrainer`` on the downstream mixture; ``config`` None is plain fine-tuning."""
    rows = tiny_world.finetuning_rows(EXAMPLES, harmful_fraction=harmful_fraction, seed=seed)
    model, tokenizer = load_aligned()
    trainer, seconds = train(
        model, tokenizer, rows, config, Tuning(), seed=seed, output_path=output_path, advance=advance
    )
    trainer.save_model()
    return Finetuned(trainer.model, tokenizer, seconds, trainer.state.log_history)


def train(
    model: Any,
    tokenizer: Any,
    rows: Sequence[Mapping[str, Any]],
    config: PACTConfig | None,
    tuning: Tuning,
    *,
    seed: int,
    output_path: Path,
    advance: Any = lambda: None,
) -> tuple[SFTTrainer, float]:
    """Train ``model`` in place through ``SFTTrainer``; returns the trainer and the seconds that training took.

    Args:
        rows: conversational prompt/completion rows.
        config: None is plain fine-tuning.
        advance: called after every optimizer step.
    """
    callbacks: list[TrainerCallback] = [_Progress(advance)]
    if config is not None:
        callbacks.append(PACTCallback(config))
    trainer = SFTTrainer(
        model=model,
        processing_class=tokenizer,
        train_dataset=Dataset.from_list([dict(row) for row in rows]),
        peft_config=LoraConfig(r=8, lora_alpha=16, target_modules="all-linear") if tuning.adapter == "lora" else None,
        callbacks=callbacks,
        args=SFTConfig(
            output_dir=str(output_path),
            num_train_epochs=tuning.epochs,
            per_device_train_batch_size=tuning.batch_size,
            learning_rate=tuning.learning_rate,
            warmup_steps=5,
            weight_decay=0.0,
            max_length=tuning.max_length,
            gradient_checkpointing=False,
            bf16=False,
            use_cpu=not torch.cuda.is_available(),
            save_strategy="no",
            report_to=[],
            logging_steps=10,
            disable_tqdm=True,
            seed=seed,
        ),
    )
    # One bar covers everything; the log lines are in the results.
    trainer.remove_callback(PrinterCallback)
    started = time.perf_counter()
    trainer.train()
    return trainer, time.perf_counter() - started
