"""Where the responses are in a batch, read off its labels alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

IGNORE_INDEX = -100


@dataclass(frozen=True)
class Responses:
    """The N response tokens of a batch, row by row, in order.

    Attributes:
        rows: (N,) int64, the row of each token.
        columns: (N,) int64, the column whose hidden state predicts it: one before the token.
        positions: (N,) int64, its place in its own response, from 0.
        response_index: (N,) int64, which response it belongs to, ascending from 0.
        token_ids: (N,) int64, the token itself.
    """

    rows: Tensor
    columns: Tensor
    positions: Tensor
    response_index: Tensor
    token_ids: Tensor

    def __len__(self) -> int:
        return self.rows.numel()

    @property
    def count(self) -> int:
        """Number of responses."""
        return int(self.response_index[-1]) + 1 if len(self) else 0

    @property
    def first_tokens(self) -> Tensor:
        """(number of responses,) int64: index into the N tokens of the first one of each response."""
        starts = torch.ones_like(self.response_index, dtype=torch.bool)
        starts[1:] = self.response_index[1:] != self.response_index[:-1]
        return starts.nonzero()[:, 0]

    def select(self, hidden_states: Tensor) -> Tensor:
        """(B, L, hidden) -> (N, hidden): the states that predict the response tokens."""
        return hidden_states[self.rows.to(hidden_states.device), self.columns.to(hidden_states.device)]


def find_responses(labels: Tensor, position_ids: Tensor | None = None) -> Responses:
    """Every contiguous run of labels is one response.

    Works for padding on either side, several responses in a row, packed sequences, and rows without any. A label on
    the first token of a row or of a packed sequence is left out: nothing of its own sequence predicts it, and packing
    must change nothing.

    Args:
        labels: (B, L) int64, -100 outside responses, not shifted.
        position_ids: (B, L) or (1, L); where they restart, a new packed sequence and so a new response begins.
    """
    labelled = labels != IGNORE_INDEX
    starts = labelled.clone()
    starts[:, 1:] &= ~labelled[:, :-1]
    predicted = labelled.clone()
    predicted[:, 0] = False
    if position_ids is not None and position_ids.dim() == 2 and position_ids.size(-1) == labels.size(-1):
        restarts = torch.zeros_like(labelled)
        restarts[:, 1:] = (position_ids[:, 1:] <= position_ids[:, :-1]).expand(labels.size(0), -1)
        starts |= labelled & restarts
        predicted &= ~restarts
    rows, tokens = predicted.nonzero(as_tuple=True)
    columns_all = torch.arange(labels.size(1), device=labels.device).expand_as(labels)
    run_start = torch.where(starts, columns_all, 0).cummax(dim=1).values
    positions = tokens - run_start[rows, tokens]
    run_number = starts.flatten().cumsum(0).view_as(labels)[rows, tokens]
    response_index = torch.unique_consecutive(run_number, return_inverse=True)[1]
    return Responses(rows, tokens - 1, positions, response_index, labels[rows, tokens])
