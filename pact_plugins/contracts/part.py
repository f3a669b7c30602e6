"""A part of what is added to the trainer's loss: the term, the row gate and the anchor are three."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic

import torch
from pydantic import JsonValue
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerBase

from pact_plugins.batch.micro_batch import ComingBatch, MicroBatch
from pact_plugins.batch.teacher_forcing import TeacherForced
from pact_plugins.batch.training_data import TrainingData
from pact_plugins.contracts.reference import AlignedModelSource, KnownRefusals, Reference
from pact_plugins.contracts.safety_tokens import SafetyTokens
from pact_plugins.conversation import AssistantTurns, ChatQuestion
from pact_plugins.modeling import LiveHead, ModelParts
from pact_plugins.settings import Settings

__all__ = ["Answer", "LossTerm", "Part", "PartContext"]


@dataclass(frozen=True)
class Answer:
    """What the reference answers to one part, without gradient: what its ``Needs`` name, None for the rest.

    Attributes:
        logits: (N, K) float32 in full context, of the tokens that the part chose, in its order; (N, V) for the whole
            vocabulary.
        prompt_free: the same given the assistant header alone.
        mass: (M,) float32 probability on the chosen tokens where ``measured`` asked for it; None also from a reference
            that keeps no more than logits.
        refusal_mass: (number of responses,) float32, on the host: what it decides is bookkeeping.
    """

    logits: Tensor | None = None
    prompt_free: Tensor | None = None
    mass: Tensor | None = None
    refusal_mass: Tensor | None = None


@dataclass(frozen=True)
class LossTerm:
    """What a part says of one micro-batch.

    Attributes:
        values: (N,) per response token, or (M,) per token that is trained on (``MicroBatch.labelled``), with gradient;
            ``coefficient * scale * values`` joins the summed per-token loss, with the denominator of the trainer's own
            cross-entropy. None where the part only watches, or rests.
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
        name: in messages and receipts; set to the name that it is registered with.
        coefficient: the factor on its values.
        key: the setting that holds the coefficient, for messages: its block's ``weight`` where there is one.
        adds: whether it adds to the loss; each micro-batch then owes a gradient receipt for it.
        counts: names of the counts that it reports in every micro-batch.
    """

    name: str
    coefficient: float = 1.0
    key: str = "1"
    adds: bool = True
    counts: tuple[str, ...] = ()

    def measured(self, batch: MicroBatch) -> Tensor | None:
        """(M,) indices into the N response tokens whose mass ``Needs.measured`` asks for; None for none of them."""
        return None

    def joins(self, coming: ComingBatch) -> Sequence[TeacherForced]:
        """Sequences that it would have in the trainer's own forward pass over a micro-batch, on top of its rows.

        Where they can join, and where that costs no more than a pass of their own, ``MicroBatch.joined`` holds their
        states afterwards; where not, nothing. Called before the pass, on every rank.
        """
        return ()

    @abstractmethod
    def loss_term(self, batch: MicroBatch, answer: Answer) -> LossTerm:
        """What it adds to one micro-batch, from the reference's answer. Called once, on every rank."""

    def held_prompts(self) -> Collection[str]:
        """User messages whose replies it holds, which would look better than others to a drift watch."""
        return ()

    def summary(self) -> str:
        """A few words for the line that is printed when training starts; empty for none."""
        return ""

    def save(self, folder: Path) -> None:  # noqa: B027 - there may be nothing to leave
        """Leave what it was made of in the run's output folder. Called on the first rank alone."""

    def progress(self) -> JsonValue:
        """What it must know again when the run is resumed from here, or None. Every rank calls it."""
        return None

    def restore(self, progress: JsonValue) -> None:  # noqa: B027 - there may be nothing to know
        """Take up what ``progress`` gave in an earlier segment. Every rank calls it, before the first step."""

    def record(self, data: TrainingData | None) -> Mapping[str, JsonValue]:
        """What ``pact.json`` says of it under ``parts``. Every rank calls it.

        Args:
            data: the training set, where it can be read.
        """
        return {}


@dataclass(frozen=True)
class PartContext(Generic[Settings]):
    """What a part may be built from, before the first training step.

    Attributes:
        settings: its own block, an instance of the model that it is registered with.
        model_parts: the model to be trained, taken apart.
        head: its output embedding.
        tokenizer: its tokenizer.
        safety_tokens: of the aligned model; None where no part needs any.
        token_ids: (K,) int64 those that the part chose, on the decoder's device; None for none or the whole vocabulary.
        reference: the run's reference, None where no part asks one.
        aligned: the aligned model itself.
        pause: a context manager that hides a nested forward pass of the trained decoder from our hooks.
        precision: of the autocast that the forward pass runs under; None without one.
        train_dataloader: the trainer's, where there is one.
        own_loss: the setting by which the trainer computes a loss of its own, from which no single response can be
            taken out; None where its loss is the model's.
        batch_size: sequences of 512 tokens in a forward pass that is made before training, shorter ones more.
        cache_path: the folder for what later runs can use again; None for the user's cache.
        refusals: of the training set's requests; None where no part asks for refusal masses.
        turns, question: how responses and requests are found in its rows; see ``training_data``, ``RefusalCriterion``.
        resumed_in: output folder of the run that goes on, where parts find what they have saved; None for a new run.
    """

    settings: Settings
    model_parts: ModelParts
    head: LiveHead
    tokenizer: PreTrainedTokenizerBase
    safety_tokens: SafetyTokens | None
    token_ids: Tensor | None
    reference: Reference | None
    aligned: AlignedModelSource
    pause: Callable[[], AbstractContextManager[None]]
    precision: torch.dtype | None
    train_dataloader: DataLoader[Any] | None
    own_loss: str | None
    batch_size: int
    cache_path: str | None
    refusals: KnownRefusals | None = None
    turns: AssistantTurns | None = None
    question: ChatQuestion | None = None
    resumed_in: Path | None = None
