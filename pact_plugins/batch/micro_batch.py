"""``MicroBatch``: what one forward pass of the trainer offers to the parts of the loss."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from pact_plugins.batch.responses import Responses, find_responses
from pact_plugins.errors import AttachmentError
from pact_plugins.modeling import AutocastState


@dataclass(frozen=True)
class Draw:
    """The place of one micro-batch in the run: ``number`` counts the micro-batches of all ranks."""

    number: int

    @classmethod
    def at(cls, step: int, micro_batch: int, rank: int, *, micro_batches: int, ranks: int) -> Draw:
        """The micro-batch ``micro_batch`` (of ``micro_batches``) of optimizer step ``step`` on rank ``rank``."""
        return cls((step * micro_batches + micro_batch) * ranks + rank)


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
    def responses(self) -> Responses:
        """The N response tokens."""
        return find_responses(self.labels, self.inputs.get("position_ids"))

    @cached_property
    def states(self) -> Tensor:
        """(N, hidden): the states that predict the response tokens, with gradient."""
        return self.responses.select(self.hidden_states)
