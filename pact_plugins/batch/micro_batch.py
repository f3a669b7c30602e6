"""``MicroBatch``: what one forward pass of the trainer offers to the parts of the loss."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from torch import Tensor

from pact_plugins.batch.host import on_host
from pact_plugins.batch.responses import IGNORE_INDEX, Responses, find_responses
from pact_plugins.errors import AttachmentError
from pact_plugins.modeling import AutocastState


@dataclass(frozen=True)
class Draw:
    """The place of one micro-batch in the run.

    Attributes:
        step: the optimizer step, from 0.
        micro_batch: its number in the step, of ``micro_batches``.
        rank: whose it is, of ``ranks``.
    """

    step: int
    micro_batch: int = 0
    rank: int = 0
    micro_batches: int = 1
    ranks: int = 1

    @property
    def number(self) -> int:
        """Counts the micro-batches of all ranks, from 0."""
        return (self.step * self.micro_batches + self.micro_batch) * self.ranks + self.rank

    def among(self, every: int) -> Draw | None:
        """Its place where only every ``every``-th optimizer step counts, the first included; None in the others."""
        return replace(self, step=self.step // every) if self.step % every == 0 else None


@dataclass(frozen=True)
class MicroBatch:
    """One forward pass in training.

    Attributes:
        labels: (B, L) int64, not shifted, -100 outside responses.
        inputs: the keyword arguments that the decoder received.
        hidden_states: (B, L, hidden) the decoder's last hidden states, with gradient.
        autocast: the precision of the trainer's forward pass.
        draw: its place in the run.
        log_probs: (B, L - 1) per-token log-probabilities where the trainer reads these, else None.
        measure: whether values that cost a whole-vocabulary softmax are wanted for the log.

    Raises:
        AttachmentError: labels and hidden states differ in shape.
    """

    labels: Tensor
    inputs: dict[str, Any]
    hidden_states: Tensor
    autocast: AutocastState
    draw: Draw
    log_probs: Tensor | None = None
    measure: bool = True

    def __post_init__(self) -> None:
        if self.labels.shape != self.hidden_states.shape[:2]:
            raise AttachmentError(
                f"labels have shape {tuple(self.labels.shape)} but the decoder's hidden states "
                f"{tuple(self.hidden_states.shape[:2])}; virtual tokens, or a sequence split over ranks, are not "
                "supported"
            )

    @cached_property
    def label_count(self) -> int:
        """Number of labels, those in column 0 included, which nothing predicts."""
        return int((on_host(self.labels) != IGNORE_INDEX).sum())

    @cached_property
    def responses(self) -> Responses:
        """The N response tokens."""
        return find_responses(self.labels, self.inputs.get("position_ids"))

    @cached_property
    def states(self) -> Tensor:
        """(N, hidden): the states that predict the response tokens, with gradient."""
        return self.responses.select(self.hidden_states)
