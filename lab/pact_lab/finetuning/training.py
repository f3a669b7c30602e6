"""Training through TRL's ``SFTTrainer``."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import PrinterCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer

from pact_lab.finetuning.tuning import LORA_ALPHA, LORA_RANK, WARMUP_STEPS, Tuning
from pact_plugins import PACTCallback, PACTConfig


class _Progress(TrainerCallback):
    """Advance a bar that covers more than this training."""

    def __init__(self, advance: Any) -> None:
        self._advance = advance

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self._advance()


@dataclass(frozen=True)
class Training:
    """What is trained, on what and how.

    Attributes:
        rows: conversational prompt/completion rows.
        config: None is plain fine-tuning.
        seed: of the trainer.
        output_path: the trainer's output folder.
        callbacks: the trainer's, beside PACT's.
    """

    rows: Sequence[Mapping[str, Any]]
    config: PACTConfig | None
    tuning: Tuning
    seed: int
    output_path: Path
    callbacks: Sequence[TrainerCallback] = ()


def train(model: Any, tokenizer: Any, training: Training, advance: Any = lambda: None) -> tuple[SFTTrainer, float]:
    """Train ``model`` in place; returns the trainer and the seconds that training took.

    Args:
        advance: called after every optimizer step.
    """
    trainer = make_trainer(model, tokenizer, training, [_Progress(advance), *training.callbacks])
    started = time.perf_counter()
    trainer.train()
    return trainer, time.perf_counter() - started


def make_trainer(model: Any, tokenizer: Any, training: Training, callbacks: Sequence[TrainerCallback]) -> SFTTrainer:
    """The trainer, which has tokenised the rows, before it trains."""
    tuning = training.tuning
    protection = [] if training.config is None else [PACTCallback(training.config)]
    adapter = LoraConfig(r=LORA_RANK, lora_alpha=LORA_ALPHA, target_modules="all-linear")
    trainer = SFTTrainer(
        model=model,
        processing_class=tokenizer,
        train_dataset=Dataset.from_list([dict(row) for row in training.rows]),
        peft_config=adapter if tuning.adapter == "lora" else None,
        callbacks=[*callbacks, *protection],
        args=SFTConfig(
            output_dir=str(training.output_path),
            num_train_epochs=tuning.epochs,
            per_device_train_batch_size=tuning.batch_size,
            learning_rate=tuning.learning_rate,
            warmup_steps=WARMUP_STEPS,
            weight_decay=0.0,
            max_length=tuning.max_length,
            gradient_checkpointing=False,
            bf16=False,
            use_cpu=not torch.cuda.is_available(),
            save_strategy="no",
            report_to=[],
            logging_steps=10,
            disable_tqdm=True,
            seed=training.seed,
        ),
    )
    # One bar covers everything; the log lines are in the results.
    trainer.remove_callback(PrinterCallback)
    return trainer
