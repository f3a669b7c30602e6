"""``MicroBatch``: what one forward pass of the trainer offers to the parts of the loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, field, replace
from functools import cached_property
from operator import add
from typing import Any

import numpy
from torch import Tensor

from pact_plugins.batch.host import Array, on_host
from pact_plugins.batch.responses import IGNORE_INDEX, Responses, find_responses, response_labels, sequence_starts
from pact_plugins.conversation.turns import AssistantTurns
from pact_plugins.errors import AttachmentError
from pact_plugins.modeling import AutocastState


@dataclass(frozen=True)
class StepIndex:
    """The place of one micro-batch in the run.

    Attributes:
        step: the optimizer step, from 0.
        micro_batch: its number in the step, of ``micro_batches``.
        rank: whose it is, of ``ranks``.
        covers: how many micro-batches of the step it ends, itself included; 0 where more of them follow.
    """

    step: int
    micro_batch: int = 0
    rank: int = 0
    micro_batches: int = 1
    ranks: int = 1
    covers: int = 1

    @property
    def number(self) -> int:
        """Counts the micro-batches of all ranks, from 0."""
        return (self.step * self.micro_batches + self.micro_batch) * self.ranks + self.rank

    def among(self, every: int) -> StepIndex | None:
        """Its place where only every ``every``-th optimizer step counts, the first included; None in the others."""
        return replace(self, step=self.step // every) if self.step % every == 0 else None

    def of_step(self) -> StepIndex | None:
        """The place of what is done once for all micro-batches of a step, with the last; None with the others."""
        if not self.covers:
            return None
        return replace(self, micro_batch=0, micro_batches=1) if self.covers > 1 else self


@dataclass(frozen=True)
class Counts:
    """What micro-batches of one optimizer step hold, on one rank.

    The trainer's loss is over all labels. Responses may be fewer: prompts can be trained on too.

    Attributes:
        passes: micro-batches.
        micro_batches: those with a label that something predicts.
        responses, tokens: responses, and the tokens in them.
        predicted: labels that something predicts: those outside column 0.
        labels: all of them, which some trainers count.
    """

    passes: int = 0
    micro_batches: int = 0
    responses: int = 0
    tokens: int = 0
    predicted: int = 0
    labels: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*map(add, astuple(self), astuple(other)))


NOTHING = Counts()


@dataclass(frozen=True)
class ComingBatch:
    """A micro-batch on its way from the model to its decoder.

    Attributes:
        labels, inputs, step_index, earlier, turns: as they will be in the ``MicroBatch``.
    """

    labels: Tensor
    inputs: dict[str, Any]
    step_index: StepIndex
    earlier: Counts
    turns: AssistantTurns | None = None

    @cached_property
    def responses(self) -> int:
        """How many it holds. The first to ask waits for the labels."""
        labels = response_labels(self.labels, self.inputs, self.turns)
        return find_responses(labels, self.inputs.get("position_ids")).count


@dataclass(frozen=True)
class MicroBatch:
    """One forward pass in training.

    Attributes:
        labels: (B, L) int64, not shifted, -100 where nothing is trained on. They may cover prompts too.
        inputs: the keyword arguments that the decoder received.
        hidden_states: (B, L, hidden) the decoder's last hidden states, with gradient.
        autocast: the precision of the trainer's forward pass.
        step_index: its place in the run.
        log_probs: (B, L - 1) per-token log-probabilities where the trainer reads these, else None.
        measure: whether values that cost a whole-vocabulary softmax are wanted for the log.
        earlier: what the step's earlier micro-batches hold that this one may stand for.
        turns: how an assistant's turn is told from a prompt where both are labelled; None where labels alone decide.
        joined: by a part's name (P, hidden): the states that predict the responses of what it let join this pass.

    Raises:
        AttachmentError: labels and hidden states differ in shape.
    """

    labels: Tensor
    inputs: dict[str, Any]
    hidden_states: Tensor
    autocast: AutocastState
    step_index: StepIndex
    log_probs: Tensor | None = None
    measure: bool = True
    earlier: Counts = NOTHING
    turns: AssistantTurns | None = None
    joined: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.labels.shape != self.hidden_states.shape[:2]:
            raise AttachmentError(
                f"labels have shape {tuple(self.labels.shape)} but the decoder's hidden states "
                f"{tuple(self.hidden_states.shape[:2])}; virtual tokens, or a sequence split over ranks, are not "
                "supported"
            )

    @cached_property
    def own(self) -> Counts:
        """What it holds."""
        labelled = on_host(self.labels) != IGNORE_INDEX
        predicted = int(labelled[:, 1:].sum())
        tokens = len(self.responses)
        return Counts(1, int(predicted > 0), self.responses.count, tokens, predicted, int(labelled.sum()))

    @property
    def so_far(self) -> Counts:
        """What the step's micro-batches hold up to this one."""
        return self.earlier + self.own

    @cached_property
    def labelled(self) -> Responses:
        """The M tokens that are trained on: those of prompts too, where the trainer learns them."""
        return find_responses(self.labels, self.inputs.get("position_ids"))

    @cached_property
    def response_labels(self) -> Tensor:
        """``labels`` of the responses alone; the same tensor where there are no others."""
        return response_labels(self.labels, self.inputs, self.turns)

    @cached_property
    def responses(self) -> Responses:
        """The N response tokens; ``labelled`` itself where no prompt is trained on."""
        if self.response_labels is self.labels:
            return self.labelled
        return find_responses(self.response_labels, self.inputs.get("position_ids"))

    @cached_property
    def places(self) -> Array:
        """(N,) int64, on the host: which of the M labelled tokens the response tokens are."""
        return numpy.searchsorted(self._order(self.labelled), self._order(self.responses))

    @cached_property
    def answered_by(self) -> Array:
        """(M,) int64, on the host: to which response each labelled token leads, or belongs; -1 for none.

        A prompt leads to the response behind it. What follows the last response of a sequence belongs to that one.
        """
        if self.responses is self.labelled:
            return self.responses.on_host[3]
        number = sequence_starts(self.inputs, tuple(self.labels.shape)).ravel().cumsum()
        labelled, tokens = self._order(self.labelled), self._order(self.responses)
        last = numpy.append(self.responses.first_places[1:], len(tokens))[: self.responses.count] - 1
        ends = numpy.append(tokens[last], -1)  # the last one for nobody: it is never in the same sequence
        following = numpy.searchsorted(ends[:-1], labelled)
        sequence = numpy.where(ends < 0, -1, number[ends])
        before = numpy.where(following > 0, following - 1, len(ends) - 1)
        own = number[labelled]
        fallback = numpy.where(sequence[before] == own, before, -1)
        return numpy.where(sequence[following] == own, following, fallback)

    def _order(self, tokens: Responses) -> Array:
        """Places in the flattened rows, ascending."""
        rows, columns = tokens.on_host[:2]
        found: Array = rows * self.labels.shape[1] + columns + 1
        return found

    @cached_property
    def states(self) -> Tensor:
        """(N, hidden): the states that predict the response tokens, with gradient."""
        return self.responses.select(self.hidden_states)
