"""A method of ``pact compare``: how to fine-tune, under one name."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, TrainerCallback

__all__ = ["CallbackContext", "Callbacks", "Method", "Row", "TransformContext"]

Row = dict[str, Any]
"""A training row in TRL's conversational form: lists of messages under ``prompt`` and ``completion``."""


@dataclass(frozen=True)
class TransformContext:
    """What a transform may use.

    Attributes:
        refusals: the aligned model's own refusals of calibration prompts, each with ``prompt`` and ``response``.
        rng: seeded by the training seed.
    """

    refusals: Sequence[Mapping[str, str]]
    rng: random.Random


RowTransform = Callable[[Sequence[Row], TransformContext], list[Row]]


@dataclass(frozen=True)
class CallbackContext:
    """What a method's trainer callbacks may use.

    Attributes:
        tokenizer: the model's.
        refusals: the aligned model's own refusals of calibration prompts, each with ``prompt`` and ``response``.
        seed: of the training.
    """

    tokenizer: PreTrainedTokenizerBase
    refusals: Sequence[Mapping[str, str]]
    seed: int


Callbacks = Callable[[CallbackContext], Sequence["TrainerCallback"]]
"""Makes callbacks for transformers' trainer, anew for every training; its ``repr`` says how it is set."""


@dataclass(frozen=True)
class Method:
    """A named way to fine-tune.

    Attributes:
        name: as written in ``--methods``.
        description: one line.
        settings: keys of ``PACTConfig``; None trains without PACT. Files and prompts of calibration are filled in.
        transform: what is done to the training rows first.
        callbacks: what makes further callbacks of the trainer, for what is done beside the loss.
    """

    name: str
    description: str
    settings: Mapping[str, Any] | None = None
    transform: RowTransform | None = None
    callbacks: Callbacks | None = None

    def described(self) -> dict[str, Any]:
        """What makes up the method, for keys and records."""
        transform = None if self.transform is None else f"{self.transform.__module__}.{self.transform.__qualname__}"
        described = {"settings": None if self.settings is None else dict(self.settings), "transform": transform}
        return described if self.callbacks is None else {**described, "callbacks": repr(self.callbacks)}
