"""The real ``SFTTrainer`` on a tiny model, watched: its inputs, its gradients, its losses."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field
from typing import Any

import datasets
import numpy
import torch
from peft import LoraConfig
from torch import Tensor
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer

from pact_plugins import PACTCallback
from tests.helpers.tiny import tiny_llama, tiny_safety_tokens, tiny_tokenizer

datasets.disable_progress_bars()

_TEXT = "the film was slow but wonderful please help with a garden plan and sorry I cannot do that request"
_WORDS = tuple(_TEXT.split())


def rows(count: int = 8, seed: int = 0) -> list[dict[str, Any]]:
    """Prompt and completion as chat messages, of uneven length."""
    generator = random.Random(seed)

    def text(longest: int) -> str:
        return " ".join(generator.choices(_WORDS, k=generator.randint(2, longest)))

    return [
        {
            "prompt": [{"role": "user", "content": text(8)}],
            "completion": [{"role": "assistant", "content": text(14)}],
        }
        for _ in range(count)
    ]


def lora(**settings: Any) -> LoraConfig:
    """LoRA of rank 4 on all linear layers of the decoder, without dropout."""
    defaults = {
        "r": 4,
        "lora_alpha": 8,
        "lora_dropout": 0.0,
        "target_modules": ["q_proj", "v_proj", "up_proj", "down_proj"],
        "task_type": "CAUSAL_LM",
    }
    return LoraConfig(**{**defaults, **settings})


# What trains: an adapter, or every weight.
ADAPTERS = {"lora": lora, "full": lambda: None}


def hooks_on(model: torch.nn.Module) -> list[Any]:
    """Every forward hook, and forward pre-hook, on any module."""
    return [
        hook
        for module in model.modules()
        for hooks in (module._forward_hooks, module._forward_pre_hooks)
        for hook in hooks.values()
    ]


def weights_of(trainer: Any) -> dict[str, Tensor]:
    """A copy of every parameter of the trainer's model."""
    return {name: parameter.detach().clone() for name, parameter in trainer.model.named_parameters()}


class RecordingTrainer(SFTTrainer):
    """Keeps a copy of what each micro-batch was given."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.micro_batches: list[dict[str, Any]] = []
        super().__init__(*args, **kwargs)

    def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        self.micro_batches.append({k: v.clone() if isinstance(v, Tensor) else v for k, v in inputs.items()})
        return super().training_step(model, inputs, *args, **kwargs)


@dataclass
class Watch(TrainerCallback):
    """Moves the weights before the first step if asked to, and keeps each step's gradients and weights."""

    move: bool = False
    gradients: list[dict[str, Tensor]] = field(default_factory=list)
    weights: list[dict[str, Tensor]] = field(default_factory=list)
    losses: list[dict[str, Any]] = field(default_factory=list)

    def on_step_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        if self.move and state.global_step == 0:
            move_weights(model)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.weights.append({name: p.detach().clone() for name, p in trained.items()})
        self.gradients.append({name: p.grad.detach().clone() for name, p in trained.items() if p.grad is not None})

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        self.losses.append(dict(logs))


@torch.no_grad()
def move_weights(model: Any, size: float = 0.1) -> None:
    """Without this LoRA's B is zero, nothing has drifted, and every term is zero."""
    generator = torch.Generator().manual_seed(11)
    for _, parameter in sorted(model.named_parameters()):
        if parameter.requires_grad:
            parameter.add_(size * torch.randn(parameter.shape, generator=generator).to(parameter))


def arguments(output: Any, **settings: Any) -> SFTConfig:
    """One step of batch size 4 on the CPU, nothing saved, nothing reported, gradients not clipped."""
    defaults: dict[str, Any] = {
        "output_dir": str(output),
        "use_cpu": True,
        "bf16": False,
        "report_to": [],
        "save_strategy": "no",
        "max_steps": 1,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 1,
        "gradient_checkpointing": False,
        "learning_rate": 1e-2,
        "max_grad_norm": 0.0,
        "logging_steps": 1,
        "max_length": 128,
        "disable_tqdm": True,
        "seed": 3,
    }
    return SFTConfig(**{**defaults, **settings})


def sft_trainer(
    output: Any,
    *,
    model: Any = None,
    adapter: LoraConfig | None = None,
    callbacks: Any = (),
    train_rows: Any = None,
    trainer_class: type = RecordingTrainer,
    trainer_settings: dict[str, Any] | None = None,
    **settings: Any,
) -> Any:
    """A trainer, ready to go."""
    settings_of_eval = {}
    if "eval_rows" in settings:
        settings_of_eval["eval_dataset"] = datasets.Dataset.from_list(settings.pop("eval_rows"))
    torch.manual_seed(5)  # of LoRA's A
    return trainer_class(
        model=tiny_llama() if model is None else model,
        args=arguments(output, **settings),
        train_dataset=datasets.Dataset.from_list(rows() if train_rows is None else train_rows),
        processing_class=tiny_tokenizer(),
        peft_config=adapter,
        callbacks=list(callbacks),
        **settings_of_eval,
        **(trainer_settings or {}),
    )


def pact(config: dict[str, Any] | None = None, **kwargs: Any) -> PACTCallback:
    """The callback with hand-made safety tokens; the term alone where the configuration names no preset."""
    kwargs.setdefault("safety_tokens", tiny_safety_tokens())
    return PACTCallback({"preset": "match", **(config or {})}, **kwargs)


def random_state() -> tuple[Any, ...]:
    """Something that can be compared with ``==``."""
    numpy_state = numpy.random.get_state()
    return (
        random.getstate(),
        tuple(torch.get_rng_state().tolist()),
        (numpy_state[0], tuple(numpy_state[1].tolist()), *numpy_state[2:]),
    )


def python_path() -> dict[str, str]:
    """The environment of a subprocess that runs this checkout's code."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    paths = [root, os.path.join(root, "integrations"), os.path.join(root, "evals"), os.path.join(root, "lab")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
