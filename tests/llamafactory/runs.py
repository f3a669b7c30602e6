"""A run of LLaMA-Factory in this process, and what it left: gradients, batches, log, record."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import TrainerCallback


class Recorder(TrainerCallback):
    """Keeps the gradients before the first optimizer step, the trainer's batches and its log.

    Args:
        moves: the trained weights before the first step, as an adapter that is fresh adds nothing.
    """

    def __init__(self, *, moves: bool = False) -> None:
        self.moves = moves
        self.gradients: dict[str, Tensor] = {}
        self.log: list[dict[str, float]] = []
        self.batches: list[dict[str, Tensor]] = []
        self.starting_weights: dict[str, Tensor] = {}
        self.model: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.model = kwargs["model"]
        named = self.model.named_parameters()
        self.starting_weights = {name: parameter.detach().clone() for name, parameter in named}

    @torch.no_grad()
    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        generator = torch.Generator().manual_seed(7)
        for _, parameter in sorted(kwargs["model"].named_parameters()) if self.moves and not state.global_step else ():
            if parameter.requires_grad:
                parameter.copy_(0.05 * torch.randn(parameter.shape, generator=generator))

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not self.gradients:
            named = kwargs["model"].named_parameters()
            self.gradients = {name: parameter.grad.clone() for name, parameter in named if parameter.grad is not None}

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.log.append(dict(kwargs["logs"]))


@dataclass
class Run:
    """What a run left behind."""

    folder: Path
    recorder: Recorder
    record: dict[str, Any] | None = field(default=None)

    def logged(self, key: str) -> list[float]:
        return [float(entry[key]) for entry in self.recorder.log if key in entry]


def train(settings: dict[str, Any], *, moves: bool = False, **changes: Any) -> Run:
    """Run LLaMA-Factory's own ``run_exp`` with ``settings`` and ``changes``; a change to None removes a key.

    Args:
        moves: see ``Recorder``.
    """
    from llamafactory.train import tuner

    from pact_llamafactory.activation import install

    install(tuner)
    arguments = copy.deepcopy({**settings, **changes})
    arguments = {key: value for key, value in arguments.items() if value is not None}
    recorder = Recorder(moves=moves)
    with _recording(recorder.batches):
        tuner.run_exp(args=arguments, callbacks=[recorder])
    folder = Path(arguments["output_dir"])
    file = folder / "pact.json"
    return Run(folder, recorder, json.loads(file.read_text()) if file.exists() else None)


@contextmanager
def _recording(batches: list[dict[str, Tensor]]) -> Iterator[None]:
    """Copy every batch that the trainer takes a training step with."""
    from llamafactory.train.sft.trainer import CustomSeq2SeqTrainer

    original = CustomSeq2SeqTrainer.training_step

    def training_step(self: Any, model: Any, inputs: dict[str, Tensor], *args: Any, **kwargs: Any) -> Any:
        batches.append({name: value.clone() for name, value in inputs.items() if isinstance(value, Tensor)})
        return original(self, model, inputs, *args, **kwargs)

    CustomSeq2SeqTrainer.training_step = training_step
    try:
        yield
    finally:
        CustomSeq2SeqTrainer.training_step = original
