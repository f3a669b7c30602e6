"""The frozen aligned reference: what it is asked, what it answers, what it is built from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from pydantic import JsonValue
from torch import Tensor
from torch.utils.data import DataLoader

from pact_plugins.batch.openings import RefusalCriterion
from pact_plugins.batch.replies import SampledReplies
from pact_plugins.batch.responses import Responses
from pact_plugins.conversation import AssistantTurns
from pact_plugins.modeling import AutocastState, ModelParts, OutputHead

__all__ = [
    "AlignedModelSource",
    "Capabilities",
    "KnownRefusals",
    "Reference",
    "ReferenceBuilder",
    "ReferenceContext",
    "ReferenceLogits",
    "ReferenceRequest",
]


@dataclass(frozen=True)
class Capabilities:
    """What a reference can answer beside logits on the safety tokens.

    Attributes:
        prompt_free: logits given the assistant header alone, which the published objectives need.
        refusal_mass: the probability that its own reply begins as a refusal does, which the row gate needs.
        whole_vocabulary: logits of every token (``token_ids`` None), which ``full_kl`` needs.
    """

    prompt_free: bool = False
    refusal_mass: bool = False
    whole_vocabulary: bool = False


@dataclass(frozen=True)
class ReferenceRequest:
    """What the parts of the loss ask of the reference for one micro-batch, all together.

    Attributes:
        decoder_inputs: the keyword arguments that the trained decoder received.
        responses: the N response tokens.
        token_ids: (|S|,) or None for the whole vocabulary.
        header_ids: the assistant header of a prompt-free context, or None where no prompt-free logits are wanted.
        autocast: the precision of the trainer's forward pass.
        measured: (M,) indices into the N tokens whose ``normaliser`` is wanted, or None.
        refusals: what counts as a refusal, in rows that cannot be taken apart, so that nobody can ask about their
            contexts alone; else None.
    """

    decoder_inputs: dict[str, Any]
    responses: Responses
    token_ids: Tensor | None
    header_ids: Sequence[int] | None
    autocast: AutocastState
    measured: Tensor | None
    refusals: RefusalCriterion | None = None


@dataclass(frozen=True)
class ReferenceLogits:
    """The answer, without gradient.

    Attributes:
        full: (N, |S|) float32 logits in full context.
        prompt_free: (N, |S|) float32 logits given the assistant header alone, or None.
        normaliser: (M,) float32 log-sum-exp of the whole vocabulary's logits, or None: what turns those of a few
            tokens into probabilities.
        refusal_mass: (number of responses,) float32 probability that the reference's own reply begins as a
            refusal does, or None. On the host: what it decides is bookkeeping.
    """

    full: Tensor
    prompt_free: Tensor | None
    normaliser: Tensor | None
    refusal_mass: Tensor | None = None


class Reference(ABC):
    """A source of reference logits; its own errors are raised when it is built.

    ``capabilities`` says what it can answer: a configuration that needs more is refused before training.
    """

    name: str
    capabilities: Capabilities = Capabilities()
    switches_adapter_off: bool = False
    """Whether it is the trained model itself without its adapter, which must then be fresh when training starts."""

    @abstractmethod
    def logits(self, request: ReferenceRequest) -> ReferenceLogits:
        """Answer ``request``. Called once per micro-batch, on every rank."""

    def fill(self) -> None:  # noqa: B027 - there may be nothing to do
        """Do ahead what can be done before the first step. Every rank calls it."""

    def release(self) -> None:  # noqa: B027 - there may be nothing to let go of
        """All that can be read ahead has been asked: let go of what no step needs. Every rank calls it."""

    def online(self) -> Reference | None:
        """What answers for an unseen row without loading anything, to be checked while training; None for nothing."""
        return self

    def refusal_mass(
        self, contexts: Sequence[Sequence[int]], criterion: RefusalCriterion, autocast: AutocastState
    ) -> Tensor:
        """(number of contexts,) float32 on the host: the probability that its own reply begins as a refusal does.

        Called for each context once, before training where that can be; with ``capabilities.refusal_mass`` alone.
        Where parameters are sharded, on every rank, with as many contexts as there are here.

        Args:
            contexts: token ids, up to where the reply begins.
        """
        raise NotImplementedError(f"reference.kind: {self.name} cannot tell refusal masses")

    @property
    def fingerprint(self) -> str | None:
        """A name for the content of the model behind it, under which later runs find what it said; None without one.

        Asked for before the first step alone.
        """
        return None

    @property
    def weights_dtype(self) -> torch.dtype | None:
        """Of the weights behind it, where there are some."""
        return None

    def frozen_head(self) -> OutputHead | None:
        """Its own output embedding where it keeps one that never moves; others need no copy of theirs then."""
        return None

    def metrics(self) -> Mapping[str, float]:
        """Values for the log, as ``pact/<name>``, since the last call. Every rank calls it."""
        return {}

    def progress(self) -> JsonValue:
        """What it must know again when the run is resumed from here, or None. Every rank calls it."""
        return None

    def restore(self, progress: JsonValue) -> None:  # noqa: B027 - there may be nothing to know
        """Take up what ``progress`` gave in an earlier segment. Every rank calls it, before the first step."""

    def record(self) -> Mapping[str, JsonValue] | None:
        """What ``pact.json`` says of it under its own name; None for nothing. Every rank calls it."""
        return None


class ReferenceSettings(Protocol):
    """The ``reference`` block of the configuration."""

    @property
    def kind(self) -> str: ...
    @property
    def path(self) -> str | None: ...
    @property
    def cache_path(self) -> str | None: ...
    @property
    def check_every(self) -> int: ...
    @property
    def assistant_header(self) -> str | None: ...


class KnownRefusals(Protocol):
    """What the reference said of the training set's requests, before the first step."""

    def refused_contexts(self, above: float) -> list[list[int]]:
        """Those of a larger refusal mass, as token ids; raises ConfigurationError where none can be read ahead."""


class AlignedModelSource(Protocol):
    """The aligned model itself: the one in memory with its adapters off, or one that is loaded."""

    @property
    def replies(self) -> SampledReplies:
        """What it has replied so far to whoever asked before the first step."""

    @property
    def path(self) -> str | None:
        """Where it has to be loaded from; None where the model in memory is the aligned one."""

    def running(self) -> AbstractContextManager[ModelParts]:
        """Its parts, to be run inside the block."""

    def loaded(self) -> ModelParts:
        """What was loaded from ``path``, once; nobody may change it."""

    def check_vocabulary(self, model_parts: ModelParts) -> None:
        """Raise ConfigurationError where a loaded model has another vocabulary than the trained one."""

    def check_adapter_is_no_part(self) -> None:
        """Raise ConfigurationError where the reference includes the adapter that would be switched off."""


@dataclass(frozen=True)
class ReferenceContext:
    """What a reference may be built from, before the first training step.

    Attributes:
        model_parts: the model to be trained, taken apart; no hook of ours is on it yet.
        settings: the ``reference`` block of the configuration.
        token_ids: (|S|,) or None for the whole vocabulary.
        resumed: whether training continues from a checkpoint, so that the weights have moved already.
        pause: a context manager that hides a nested forward pass of the trained decoder from our hooks.
        header_ids: what every request of the run will ask for; see ``ReferenceRequest``.
        refusals: what counts as a refusal, where refusal masses are asked for.
        precision: of the autocast that the forward pass runs under; None without one.
        train_dataloader: the trainer's, where there is one.
        turns: how responses are found in its rows; see ``training_data``.
        aligned: the aligned model itself, which is loaded once for all who need it.
        asks_logits: whether logits are asked for in every micro-batch, or refusal masses of new contexts alone.
    """

    model_parts: ModelParts
    settings: ReferenceSettings
    token_ids: Tensor | None
    resumed: bool
    pause: Callable[[], AbstractContextManager[None]]
    header_ids: Sequence[int] | None = None
    refusals: RefusalCriterion | None = None
    precision: torch.dtype | None = None
    train_dataloader: DataLoader[Any] | None = None
    turns: AssistantTurns | None = None
    aligned: AlignedModelSource | None = None
    asks_logits: bool = True


ReferenceBuilder = Callable[[ReferenceContext], Reference]
