"""Where the responses are in a batch: what is labelled, and of that what the assistant wrote."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from torch import Tensor

from pact_plugins.batch.host import Array, on_host, to_device
from pact_plugins.conversation.turns import AssistantTurns

IGNORE_INDEX = -100


@dataclass(frozen=True)
class Responses:
    """The N response tokens of a batch, row by row, in order.

    Attributes:
        on_host: (5, N) int64, the five below once more, in numpy: to be read without waiting for the device.
        rows: (N,) int64, the row of each token.
        columns: (N,) int64, the column whose hidden state predicts it: one before the token.
        positions: (N,) int64, its place in its own response, from 0.
        response_index: (N,) int64, which response it belongs to, ascending from 0.
        token_ids: (N,) int64, the token itself.
    """

    on_host: Array
    rows: Tensor
    columns: Tensor
    positions: Tensor
    response_index: Tensor
    token_ids: Tensor

    @classmethod
    def of(cls, table: Array, device: torch.device) -> Responses:
        """From the five as one (5, N) int64 array; the tensors are on ``device``."""
        return cls(table, *to_device(table, device).unbind(0))

    def __len__(self) -> int:
        return int(self.on_host.shape[1])

    @property
    def count(self) -> int:
        """Number of responses."""
        return int(self.on_host[3, -1]) + 1 if len(self) else 0

    @property
    def first_places(self) -> Array:
        """(number of responses,) int64: index into the N tokens of the first one of each response."""
        index = self.on_host[3]
        starts = numpy.ones(len(index), dtype=bool)
        starts[1:] = index[1:] != index[:-1]
        return starts.nonzero()[0]

    @property
    def first_tokens(self) -> Tensor:
        """``first_places`` as a tensor beside the others."""
        return to_device(self.first_places, self.rows.device)

    def select(self, hidden_states: Tensor) -> Tensor:
        """(B, L, hidden) -> (N, hidden): the states that predict the response tokens."""
        return hidden_states[self.rows.to(hidden_states.device), self.columns.to(hidden_states.device)]


def response_labels(labels: Tensor, inputs: Mapping[str, Any], turns: AssistantTurns | None) -> Tensor:
    """The labels of what the assistant wrote; ``labels`` itself where there are no others.

    Args:
        labels: (B, L) int64, -100 where nothing is trained on, not shifted.
        inputs: of the decoder: ``input_ids`` (B, L), and what tells packed sequences apart.
        turns: what the chat template writes around an assistant's turn; None where the labels alone decide.
    """
    input_ids = inputs.get("input_ids")
    if turns is None or not isinstance(input_ids, Tensor) or input_ids.shape != labels.shape or labels.dim() != 2:
        return labels
    targets, ids = on_host(labels), on_host(input_ids)
    answers = turns.answers(ids, targets != IGNORE_INDEX, sequence_starts(inputs, targets.shape))
    return labels if answers is None else to_device(numpy.where(answers, targets, IGNORE_INDEX), labels.device)


def sequence_starts(inputs: Mapping[str, Any], shape: tuple[int, ...]) -> Array:
    """(B, L) bool: where a sequence begins in its row, as far as positions and attention mask tell.

    Args:
        inputs: of the decoder.
        shape: of its ``input_ids``.
    """
    starts = numpy.zeros(shape, dtype=bool)
    starts[:, :1] = True
    position_ids, mask = inputs.get("position_ids"), inputs.get("attention_mask")
    if isinstance(position_ids, Tensor) and position_ids.dim() == 2 and position_ids.shape[1] == shape[1]:
        positions = on_host(position_ids)
        starts[:, 1:] |= positions[:, 1:] <= positions[:, :-1]
    if isinstance(mask, Tensor) and tuple(mask.shape) == tuple(shape):
        numbers = on_host(mask)
        starts[:, 1:] |= numbers[:, 1:] != numbers[:, :-1]
    elif isinstance(mask, Tensor) and mask.dim() == 4 and mask.shape[-2:] == (shape[1], shape[1]):
        before = mask[:, 0].diagonal(offset=-1, dim1=1, dim2=2)
        starts[:, 1:] |= ~(before if before.dtype == torch.bool else before == 0).cpu().numpy()
    return starts


def without_prompt(responses: Responses, position_ids: Tensor | None = None) -> Array:
    """(number of responses,) bool: which begin with their own sequence, so that no prompt stands before them.

    Args:
        position_ids: (B, L) or (1, L); where they restart, a packed sequence begins.
    """
    rows, columns = responses.on_host[:2, responses.first_places]
    found: Array = columns == 0
    if position_ids is not None and position_ids.dim() == 2 and len(columns) and position_ids.size(1) > columns.max():
        positions = on_host(position_ids)
        rows = rows if len(positions) > 1 else numpy.zeros_like(rows)
        found = found | (positions[rows, columns] <= positions[rows, numpy.maximum(columns - 1, 0)])
    return found


def find_responses(labels: Tensor, position_ids: Tensor | None = None) -> Responses:
    """Every contiguous run of labels is one response.

    Works for padding on either side, several responses in a row, packed sequences, and rows without any. A label on
    the first token of a row or of a packed sequence is left out: nothing of its own sequence predicts it, and packing
    must change nothing.

    Args:
        labels: (B, L) int64, -100 outside responses, not shifted.
        position_ids: (B, L) or (1, L); where they restart, a new packed sequence and so a new response begins.
    """
    targets = on_host(labels)
    labelled = targets != IGNORE_INDEX
    starts, predicted = labelled.copy(), labelled.copy()
    starts[:, 1:] &= ~labelled[:, :-1]
    predicted[:, :1] = False
    if position_ids is not None and position_ids.dim() == 2 and position_ids.size(-1) == labels.size(-1):
        positions = on_host(position_ids)
        restarts = numpy.zeros_like(labelled)
        restarts[:, 1:] = positions[:, 1:] <= positions[:, :-1]
        starts |= labelled & restarts
        predicted &= ~restarts
    return Responses.of(_table(targets, starts, predicted), labels.device)


def _table(targets: Array, starts: Array, predicted: Array) -> Array:
    """The rows of ``Responses.on_host``.

    Args:
        targets: (B, L) labels.
        starts: (B, L) where a run of labels begins.
        predicted: (B, L) labels that something of their own sequence predicts.
    """
    rows, tokens = predicted.nonzero()
    places = numpy.arange(targets.shape[1])
    run_start = numpy.maximum.accumulate(numpy.where(starts, places, 0), axis=1)
    run_number = starts.ravel().cumsum().reshape(targets.shape)[rows, tokens]
    changes = numpy.zeros(len(rows), dtype=numpy.int64)
    changes[1:] = run_number[1:] != run_number[:-1]
    table = (rows, tokens - 1, tokens - run_start[rows, tokens], changes.cumsum(), targets[rows, tokens])
    return numpy.stack([numpy.asarray(row, dtype=numpy.int64) for row in table])
