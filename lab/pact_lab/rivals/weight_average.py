"""The callback of ``WeightAverage``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import TrainerCallback


class Averaging(TrainerCallback):
    """Keeps the average beside the trained weights, and puts it in their place at the end."""

    def __init__(self, decay: float) -> None:
        self._decay = decay
        self._average: dict[str, Tensor] = {}

    def on_train_begin(self, *_: Any, model: Any, **__: Any) -> None:
        self._average = {name: parameter.detach().clone() for name, parameter in _trained(model)}

    @torch.no_grad()
    def on_step_end(self, *_: Any, model: Any, **__: Any) -> None:
        for name, parameter in _trained(model):
            self._average[name].lerp_(parameter, 1 - self._decay)

    @torch.no_grad()
    def on_train_end(self, *_: Any, model: Any, **__: Any) -> None:
        for name, parameter in _trained(model):
            parameter.copy_(self._average[name])


def _trained(model: Any) -> list[tuple[str, Any]]:
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
