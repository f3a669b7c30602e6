"""A part of what is added to the trainer's loss: the term, the row gate and the anchor are three."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pact_plugins.batch.micro_batch import MicroBatch
from pact_plugins.batch.training_data import TrainingData
from pact_plugins.contracts.reference import AlignedModelSource, Reference, ReferenceLogits
from pact_plugins.modeling import Anatomy, LiveHead


@dataclass(frozen=True)
class Wants:
    """What a part wants of the reference for one micro-batch; the reference is asked once, for all parts together.

    Attributes:
        logits: on the safety tokens, at every response token.
        prompt_free: the same given the assistant header alone.
        refusal_mass: of every response.
        measured: (M,) indices into the N tokens whose probability mass on the safety tokens is wanted, or None.
    """

    logits: bool = False
    prompt_free: bool = False
    refusal_mass: bool = False
    measured: Tensor | None = None

    def __or__(self, other: Wants) -> Wants:
        return Wants(
            self.logits or other.logits,
            self.prompt_free or other.prompt_free,
            self.refusal_mass or other.refusal_mass,
            self.measured if other.measured is None else other.measured,
        )

    def __bool__(self) -> bool:
        return self.logits or self.prompt_free or self.refusal_mass or self.measured is not None


@dataclass(frozen=True)
class Contribution:
    """What a part says of one micro-batch.

    Attributes:
        values: (N,) per response token, with gradient; ``coefficient * scale * values`` joins the summed per-token
            loss, with the denominator of the trainer's own cross-entropy. None where the part only watches, or rests.
        metrics: tensors of values of equal weight, whose mean is logged as ``pact/<name>``.
        counts: numbers whose sum is logged as ``pact/<name>``.
        scale: a factor that is the same in all micro-batches of an optimizer step.
        rests: that a part which adds to the loss adds nothing here is as it should be.
        for_step: the mean of the values, of any shape, stands for all micro-batches of the optimizer step, of which
            this is the last, and gets the weight of all of them; the part rests in the others.
    """

    values: Tensor | None
    metrics: Mapping[str, Tensor] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    scale: float = 1.0
    rests: bool = False
    for_step: bool = False


class Part(ABC):
    """One part of the loss, for the length of a run.

    Attributes:
        name: in messages and receipts.
        coefficient: the factor on its values.
        key: the setting that holds the coefficient, for messages.
        adds: whether it adds to the loss; each micro-batch then owes a gradient receipt for it.
        counts: names of the counts that it reports in every micro-batch.
    """

    name: str
    coefficient: float = 1.0
    key: str = "1"
    adds: bool = True
    counts: tuple[str, ...] = ()

    def wants(self, batch: MicroBatch) -> Wants:
        """What it wants of the reference; nothing by default."""
        return Wants()

    @abstractmethod
    def contribute(self, batch: MicroBatch, answer: ReferenceLogits | None) -> Contribution:
        """Its contribution; ``answer`` is the reference's to what all parts want, None where none wants anything.

        Called once per micro-batch, on every rank.
        """

    def summary(self) -> str:
        """A few words for the line that is printed when training starts; empty for none."""
        return ""

    def save(self, folder: Path) -> None:  # noqa: B027 - there may be nothing to leave
        """Leave what it was made of in the run's output folder. Called on the first rank alone."""

    def progress(self) -> Any:
        """What it must know again when the run is resumed from here: JSON values, or None. Every rank calls it."""
        return None

    def restore(self, progress: Any) -> None:  # noqa: B027 - there may be nothing to know
        """Take up what ``progress`` gave in an earlier piece of the run. Every rank calls it, before the first step."""

    def record(self, data: TrainingData | None) -> Mapping[str, Any]:
        """What ``pact.json`` says of it; ``data`` is the training set where it can be read. Every rank calls it."""
        return {}


@dataclass(frozen=True)
class PartContext:
    """What a part may be built from, before the first training step.

    Attributes:
        anatomy: the model to be trained, taken apart.
        head: its output embedding.
        tokenizer: its tokenizer.
        config: the run's ``PACTConfig``.
        options: what the configuration says under ``parts: {NAME: ...}``.
        reference: the run's reference, None where no built-in part needs one.
        aligned: the aligned model itself.
        pause: a context manager that hides a nested forward pass of the trained decoder from our hooks.
        precision: of the autocast that the forward pass runs under; None without one.
        train_dataloader: the trainer's, where there is one.
    """

    anatomy: Anatomy
    head: LiveHead
    tokenizer: Any
    config: Any
    options: Mapping[str, Any]
    reference: Reference | None
    aligned: AlignedModelSource
    pause: Callable[[], AbstractContextManager[None]]
    precision: torch.dtype | None
    train_dataloader: Any


PartBuilder = Callable[[PartContext], Part]
