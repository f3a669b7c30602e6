"""Further sequences in the trainer's own forward pass: the decoder reads them too, and nobody behind it sees them.

They join between the model and its decoder, and leave behind the decoder: labels, output embedding, loss, metrics and
every denominator are those of the trainer's own rows. Nothing that comes later in a row is seen by what comes before,
so that padding on the right needs no mask of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy
import torch
from torch import Tensor

from pact_plugins.batch.host import Array, to_device
from pact_plugins.batch.teacher_forcing import TeacherForced

_ROWS = ("input_ids", "attention_mask", "position_ids", "token_type_ids")
_OF_A_FLAT_ROW = ("seq_idx", "cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k")
_CHANGES_OUTPUTS = ("output_router_logits", "output_attentions", "output_hidden_states", "past_key_values")


@dataclass(frozen=True)
class Seats:
    """Where further sequences go in a batch.

    Attributes:
        own: (B, L) of the trainer's rows.
        whole: (B', L') of all.
        sequences: what joins.
        places: row and column of the first token of each.
    """

    own: tuple[int, int]
    whole: tuple[int, int]
    sequences: tuple[TeacherForced, ...]
    places: tuple[tuple[int, int], ...]

    @property
    def is_flat(self) -> bool:
        """Whether they follow the trainer's sequences in one packed row."""
        return self.own[0] == self.whole[0] == 1

    @property
    def tokens(self) -> int:
        """How many more the decoder reads, padding included."""
        return self.whole[0] * self.whole[1] - self.own[0] * self.own[1]

    def own_rows(self, states: Tensor) -> Tensor:
        """(B', L', ...) -> (B, L, ...)."""
        return states[: self.own[0], : self.own[1]]

    def responses(self, states: Tensor) -> Tensor:
        """(B', L', hidden) -> (P, hidden): the states that predict the responses of what joined, in its order."""
        rows, columns = to_device(self._predicting, states.device).unbind(0)
        return states[rows, columns]

    @cached_property
    def _predicting(self) -> Array:
        found = [
            (row, column + len(one.context_ids) - 1 + number)
            for one, (row, column) in zip(self.sequences, self.places, strict=True)
            for number in range(len(one.response_ids))
        ]
        return numpy.array(found, dtype=numpy.int64).T


def seats(inputs: Mapping[str, Any], sequences: Sequence[TeacherForced], *, may_pack: bool) -> Seats | None:
    """Where ``sequences`` could join a decoder's ``inputs``; None where the layout leaves no place for them.

    A single packed row (position ids, no mask) takes them at its end. Other batches take them as rows, several to a row
    where positions tell them apart.

    Args:
        may_pack: the decoder keeps sequences apart whose positions begin anew.
    """
    input_ids, mask = inputs.get("input_ids"), inputs.get("attention_mask")
    if not sequences or not isinstance(input_ids, Tensor) or input_ids.dim() != 2 or not _is_known(inputs):
        return None
    batch, length = (int(size) for size in input_ids.shape)
    lengths = [_length(one) for one in sequences]
    given = [inputs[name] for name in _ROWS if inputs.get(name) is not None]
    if any(not isinstance(value, Tensor) or tuple(value.shape) != (batch, length) for value in given):
        return None
    positions = inputs.get("position_ids")
    joining = tuple(sequences)
    by_positions = mask is None and positions is not None
    if by_positions and not may_pack:
        return None
    if by_positions and batch == 1:
        starts = numpy.cumsum([length, *lengths]).tolist()
        return Seats((1, length), (1, starts[-1]), joining, tuple((0, start) for start in starts[:-1]))
    if any(inputs.get(name) is not None for name in _OF_A_FLAT_ROW):
        return None
    width = max(length, *lengths)
    places = _shared_rows(lengths, width) if by_positions else [(number, 0) for number in range(len(lengths))]
    whole = (batch + 1 + max(row for row, _ in places), width)
    return Seats((batch, length), whole, joining, tuple((batch + row, column) for row, column in places))


def joined(inputs: Mapping[str, Any], taken: Seats) -> dict[str, Any]:
    """``inputs`` with the sequences in their ``seats``; nothing of the trainer's own rows changes."""
    found, device = dict(inputs), inputs["input_ids"].device
    ids, positions = (numpy.zeros(taken.whole, dtype=numpy.int64) for _ in range(2))
    for one, (row, column) in zip(taken.sequences, taken.places, strict=True):
        place = slice(column, column + _length(one))
        ids[row, place] = [*one.context_ids, *one.response_ids][:-1]
        positions[row, place] = range(_length(one))
    masks = numpy.zeros(taken.whole, dtype=numpy.int64)
    masks[taken.own[0] :] = 1
    fillings = {"input_ids": ids, "position_ids": positions, "attention_mask": masks, "token_type_ids": 0 * ids}
    for name in _ROWS:
        own = inputs.get(name)
        if own is not None:
            table = to_device(fillings[name], device).to(own.dtype)
            table[: taken.own[0], : taken.own[1]] = own
            found[name] = table
    return {**found, **_flat_row(inputs, taken)} if taken.is_flat else found


def _flat_row(inputs: Mapping[str, Any], taken: Seats) -> dict[str, Any]:
    """What kernels for packed rows are told of the sequences' borders."""
    lengths = [_length(one) for one in taken.sequences]
    found: dict[str, Any] = {}
    for name in ("cu_seq_lens_q", "cu_seq_lens_k"):
        own = inputs.get(name)
        if own is not None:
            ends = to_device(numpy.cumsum(lengths), own.device).to(own.dtype)
            found[name] = torch.cat([own, own[-1:] + ends])
    for name in ("max_length_q", "max_length_k"):
        own = inputs.get(name)
        if own is not None:
            found[name] = max(own, *lengths)
    numbers = inputs.get("seq_idx")
    if numbers is not None:
        further = to_device(numpy.repeat(numpy.arange(1, len(lengths) + 1), lengths)[None], numbers.device)
        found["seq_idx"] = torch.cat([numbers, numbers[:, -1:] + further.to(numbers.dtype)], dim=1)
    return found


def _is_known(inputs: Mapping[str, Any]) -> bool:
    """Whether nothing else is said of single rows."""
    if any(inputs.get(name) for name in _CHANGES_OUTPUTS):
        return False
    for name, value in inputs.items():
        if name in _ROWS or value is None or isinstance(value, bool | str):
            continue
        if name.startswith("max_length_") and not isinstance(value, int):
            return False
        known = name in _OF_A_FLAT_ROW or isinstance(value, int | float)
        if not known and not (isinstance(value, Tensor) and value.numel() == 1):
            return False
    return True


def _length(sequence: TeacherForced) -> int:
    # The last response token predicts nothing that is wanted.
    return len(sequence.context_ids) + len(sequence.response_ids) - 1


def _shared_rows(lengths: Sequence[int], width: int) -> list[tuple[int, int]]:
    """Row and column of each, in as few rows as taking the first one with room gives."""
    used: list[int] = []
    places = []
    for length in lengths:
        row = next((number for number, taken in enumerate(used) if taken + length <= width), len(used))
        if row == len(used):
            used.append(0)
        places.append((row, used[row]))
        used[row] += length
    return places
