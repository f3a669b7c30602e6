"""The callbacks of ``SafeGrad`` and ``SafetyAnchor``: a second gradient, made before the optimizer's step."""

from __future__ import annotations

import copy
import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerCallback

from pact_plugins.batch.teacher_forcing import TeacherForced, right_padded
from pact_plugins.contracts import CallbackContext
from pact_plugins.modeling import model_parts_of, prompt_ids

_REFUSAL_TOKENS = 32


def forced(context: CallbackContext, count: int) -> list[TeacherForced]:
    """``count`` of the aligned model's refusals as token ids, chosen by the seed."""
    chosen = random.Random(context.seed).sample(list(context.refusals), min(count, len(context.refusals)))
    tokenizer = context.tokenizer
    return [
        TeacherForced(
            prompt_ids(tokenizer, refusal["prompt"]),
            tokenizer(refusal["response"], add_special_tokens=False)["input_ids"][:_REFUSAL_TOKENS],
        )
        for refusal in chosen
    ]


class _SecondGradient(TrainerCallback, ABC):
    """Adds the gradient of a loss of its own to the trainer's."""

    def __init__(self) -> None:
        self._frozen: Any = None

    def on_train_begin(self, *_: Any, model: Any, **__: Any) -> None:
        if not hasattr(model, "disable_adapter"):
            self._frozen = copy.deepcopy(model).eval().requires_grad_(False)

    def on_pre_optimizer_step(self, *_: Any, model: Any, **__: Any) -> None:
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        was_training = model.training
        model.eval()
        with torch.enable_grad():
            found = torch.autograd.grad(self._loss(model), parameters, allow_unused=True)
        model.train(was_training)
        second = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        self._join([parameter.grad for parameter in parameters], second)

    def _join(self, task: Sequence[Tensor], second: Sequence[Tensor]) -> None:
        """Add ``second`` to the trainer's gradient, in place."""
        for own, other in zip(task, second, strict=True):
            own.add_(other)

    @torch.no_grad()
    def _reference(self, model: Any, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(B, L, hidden) of the aligned model."""
        if self._frozen is not None:
            return _hidden(self._frozen, input_ids, attention_mask)
        with model.disable_adapter():
            return _hidden(model, input_ids, attention_mask)

    @abstractmethod
    def _loss(self, model: Any) -> Tensor: ...


class Anchoring(_SecondGradient):
    """Holds the last hidden state at the ends of prompts."""

    def __init__(self, rows: Sequence[TeacherForced], weight: float) -> None:
        super().__init__()
        self._rows, self._weight = rows, weight

    def _loss(self, model: Any) -> Tensor:
        input_ids, attention_mask = right_padded(self._rows, model.device)
        last = torch.tensor([len(row.context_ids) - 1 for row in self._rows], device=model.device)
        ends = torch.arange(len(self._rows), device=model.device), last
        held = self._reference(model, input_ids, attention_mask)[ends]
        return self._weight * nn.functional.mse_loss(_hidden(model, input_ids, attention_mask)[ends], held)


class Surgery(_SecondGradient):
    """Projects the conflict out of the task's gradient before it adds its own."""

    def __init__(self, rows: Sequence[TeacherForced], batch: int, weight: float, seed: int) -> None:
        super().__init__()
        self._rows, self._batch, self._weight, self._rng = rows, batch, weight, random.Random(seed)

    def _loss(self, model: Any) -> Tensor:
        rows = self._rng.sample(list(self._rows), min(self._batch, len(self._rows)))
        input_ids, attention_mask = right_padded(rows, model.device)
        places = [
            (row, len(one.context_ids) - 1 + position)
            for row, one in enumerate(rows)
            for position in range(len(one.response_ids))
        ]
        at = tuple(torch.tensor(side, device=model.device) for side in zip(*places, strict=True))
        head = model_parts_of(model).causal_lm.get_output_embeddings()
        with torch.no_grad():
            held = torch.log_softmax(head(self._reference(model, input_ids, attention_mask)[at]).float(), dim=-1)
        now = torch.log_softmax(head(_hidden(model, input_ids, attention_mask)[at]).float(), dim=-1)
        return (held.exp() * (held - now)).sum(dim=-1).mean()

    def _join(self, task: Sequence[Tensor], second: Sequence[Tensor]) -> None:
        overlap = float(sum((own * other).sum() for own, other in zip(task, second, strict=True)))
        if overlap < 0:
            scale = overlap / float(sum(other.square().sum() for other in second))
            for own, other in zip(task, second, strict=True):
                own.sub_(other, alpha=scale)
        super()._join(task, [self._weight * other for other in second])


def _hidden(model: Any, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    decoder = model_parts_of(model).decoder
    states: Tensor = decoder(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)[0]
    return states
