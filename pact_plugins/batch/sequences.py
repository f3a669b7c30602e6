"""Sequences in a context of their own: what stays the same when a trainer shuffles, pads and packs its rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy
import torch
from torch import Tensor

from pact_plugins.batch.host import Array, on_host, to_device
from pact_plugins.batch.responses import IGNORE_INDEX, Responses
from pact_plugins.modeling import ModelParts

_NOT_TEXT = ("inputs_embeds", "pixel_values", "image", "video", "audio", "input_features")
_ATTENTION_BY_POSITIONS = ("flash", "kernels-community/flash")
_RELATIVE_POSITION_MODULES = ("rotary", "alibi")


@dataclass(frozen=True)
class TokenSequence:
    """One sequence from the first token that its responses can see to its last label; padding is gone.

    Attributes:
        input_ids: (L,) int32.
        labels: (L,) int32, -100 outside responses and in the first place; its last entry is a label.
    """

    input_ids: Array
    labels: Array

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def response_tokens(self) -> int:
        """Number of labels."""
        return int((self.labels != IGNORE_INDEX).sum())

    @property
    def responses(self) -> int:
        """Number of contiguous runs of labels."""
        labelled = self.labels != IGNORE_INDEX
        return int((labelled[1:] & ~labelled[:-1]).sum())

    @cached_property
    def key(self) -> bytes:
        """16 bytes over tokens and labels: the same ids with other response positions are another sequence."""
        digest = hashlib.blake2b(self.input_ids.tobytes(), digest_size=16)
        digest.update(self.labels.tobytes())
        return digest.digest()


def response_spans(labels: Array) -> list[tuple[int, int]]:
    """Begin and end of each response of a sequence; a label in the first place is predicted by nothing."""
    spans: list[tuple[int, int]] = []
    for column in range(1, len(labels)):
        if labels[column] == IGNORE_INDEX:
            continue
        if spans and spans[-1][1] == column:
            spans[-1] = (spans[-1][0], column + 1)
        else:
            spans.append((column, column + 1))
    return spans


@dataclass(frozen=True)
class ContextRules:
    """What a token of a packed or padded row can see, as far as the model decides it.

    Attributes:
        relative_positions: a sequence gives the same logits wherever it begins in its row.
        positions_separate: restarting positions separate sequences even beside a mask of ones.
    """

    relative_positions: bool = True
    positions_separate: bool = False

    @classmethod
    def of(cls, model_parts: ModelParts) -> ContextRules:
        """Read off a model's modules and attention implementation."""
        implementation = str(getattr(model_parts.causal_lm.config, "_attn_implementation", None) or "")
        relative = any(
            part in name for name, _ in model_parts.decoder.named_modules() for part in _RELATIVE_POSITION_MODULES
        )
        return cls(relative, implementation.startswith(_ATTENTION_BY_POSITIONS))


def split_sequences(inputs: Mapping[str, Any], labels: Tensor, rules: ContextRules) -> list[TokenSequence] | None:
    """The sequences of a batch that hold response tokens, row by row, in order.

    Args:
        inputs: ``input_ids`` (B, L); where there are any, ``attention_mask`` (B, L) of zeros and ones or of sequence
            numbers, or (B, 1, L, L); ``position_ids`` (B, L) or (1, L).
        labels: (B, L) int64, -100 outside responses, not shifted.

    Returns:
        None where a sequence cannot be taken out of its row: it sees its neighbours, stands at a place that matters, or
        is not of text alone.
    """
    return _split(inputs, _narrow(labels), rules)


def _split(inputs: Mapping[str, Any], targets: Array, rules: ContextRules) -> list[TokenSequence] | None:
    """``split_sequences`` with the labels on the host: (B, L) int32."""
    input_ids, shape = inputs.get("input_ids"), targets.shape
    if input_ids is None or tuple(input_ids.shape) != shape or _holds_other_than_text(inputs):
        return None
    positions = _positions(inputs.get("position_ids"), shape)
    changes = _mask_changes(inputs.get("attention_mask"), positions, shape, rules)
    if positions is None or changes is None:
        return None
    starts = numpy.ones(shape, dtype=bool)
    starts[:, 1:] = changes | (positions[:, 1:] <= positions[:, :-1])
    ids = _narrow(input_ids)
    found = []
    for row, begin, end in _spans(starts, targets):
        first = positions[row, begin]
        if (first and not rules.relative_positions) or positions[row, end - 1] - first != end - 1 - begin:
            return None
        own = targets[row, begin:end].copy()
        own[0] = IGNORE_INDEX  # nothing predicts it
        found.append(TokenSequence(ids[row, begin:end].copy(), own))
    return found


def _holds_other_than_text(inputs: Mapping[str, Any]) -> bool:
    if any(value is not None and name.startswith(_NOT_TEXT) for name, value in inputs.items()):
        return True
    types = inputs.get("token_type_ids")
    return types is not None and bool(on_host(types).any())


def _narrow(tensor: Tensor) -> Array:
    return on_host(tensor).astype(numpy.int32, copy=False)


def _positions(position_ids: Any, shape: tuple[int, ...]) -> Array | None:
    if position_ids is None:
        return numpy.broadcast_to(numpy.arange(shape[1], dtype=numpy.int32), shape)
    if position_ids.dim() != 2 or position_ids.shape[1] != shape[1]:
        return None
    return numpy.broadcast_to(_narrow(position_ids), shape)


def _mask_changes(mask: Any, positions: Array | None, shape: tuple[int, ...], rules: ContextRules) -> Array | None:
    """(B, L - 1) where the mask ends a context; None where the mask cannot be followed, or lets sequences mix."""
    if mask is None:
        return numpy.zeros((shape[0], shape[1] - 1), dtype=bool)
    if not isinstance(mask, Tensor) or positions is None:
        return None
    if mask.dim() == 4 and mask.shape[-2:] == (shape[1], shape[1]):
        before = mask[:, 0].diagonal(offset=-1, dim1=1, dim2=2)
        sees = before if before.dtype == torch.bool else before == 0
        return numpy.broadcast_to((~sees).cpu().numpy(), (shape[0], shape[1] - 1))
    if mask.shape != shape:
        return None
    numbers = _narrow(mask)
    changes = numbers[:, 1:] != numbers[:, :-1]
    restarts = positions[:, 1:] <= positions[:, :-1]
    mixed = restarts & ~changes & (numbers[:, 1:] != 0)
    if mixed.any() and not (rules.positions_separate and bool((numbers == 1).all())):
        return None
    return changes


def _spans(starts: Array, labels: Array) -> Iterator[tuple[int, int, int]]:
    """(row, begin, end) of each context up to its last label; those without a predicted label are left out."""
    width = labels.shape[1]
    for row in range(labels.shape[0]):
        begins = starts[row].nonzero()[0].tolist()
        labelled = (labels[row] != IGNORE_INDEX).nonzero()[0]
        for begin, end in zip(begins, [*begins[1:], width], strict=True):
            last = int(labelled.searchsorted(end)) - 1
            if last >= 0 and labelled[last] > begin:
                yield row, begin, int(labelled[last]) + 1


@dataclass(frozen=True)
class SequenceBatch:
    """Some sequences, one a row, padded on the right.

    No attention mask is needed: in a causal model nothing looks to the right.

    Attributes:
        indices: which of the given sequences the rows are.
        input_ids, labels: (B, L) int64.
    """

    indices: tuple[int, ...]
    input_ids: Tensor
    labels: Tensor


def sequence_batch(sequences: Sequence[TokenSequence], indices: Sequence[int], device: Any = "cpu") -> SequenceBatch:
    """Lay out the sequences at ``indices``."""
    width = max(len(sequences[index]) for index in indices)
    input_ids = numpy.zeros((len(indices), width), dtype=numpy.int64)
    labels = numpy.full((len(indices), width), IGNORE_INDEX, dtype=numpy.int64)
    for row, index in enumerate(indices):
        length = len(sequences[index])
        input_ids[row, :length] = sequences[index].input_ids
        labels[row, :length] = sequences[index].labels
    return SequenceBatch(
        tuple(indices), to_device(input_ids, torch.device(device)), to_device(labels, torch.device(device))
    )


def group_by_length(lengths: Sequence[int], *, max_tokens: int) -> list[list[int]]:
    """Indices in groups of similar length, longest first; a group padded to its longest holds at most ``max_tokens``.

    A single sequence that is longer makes a group of its own.
    """
    groups: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if groups and (len(groups[-1]) + 1) * lengths[groups[-1][0]] <= max_tokens:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def split_where_padding_ends(lengths: Sequence[int], *, worth: float) -> list[list[int]]:
    """Indices in groups, longest first; a group is split where that saves more than ``worth`` padded positions."""

    def split(group: list[int]) -> list[list[int]]:
        longest = lengths[group[0]]
        saved, at = max(((longest - lengths[index]) * (len(group) - place), place) for place, index in enumerate(group))
        return [group] if saved <= worth else split(group[:at]) + split(group[at:])

    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    return split(order) if order else []


def response_contexts(inputs: Mapping[str, Any], responses: Responses, rules: ContextRules) -> list[list[int]] | None:
    """What stands before each response, as token ids; None where sequences cannot be taken out of their rows."""
    sequences = sequences_of(inputs, responses, rules)
    if sequences is None:
        return None
    return [
        sequence.input_ids[:begin].tolist() for sequence in sequences for begin, _ in response_spans(sequence.labels)
    ]


def sequences_of(inputs: Mapping[str, Any], responses: Responses, rules: ContextRules) -> list[TokenSequence] | None:
    """The sequences of a batch, or None where they are not exactly what the responses are made of."""
    input_ids = inputs.get("input_ids")
    if input_ids is None:
        return None
    rows, columns, _, _, token_ids = responses.on_host
    labels = numpy.full(tuple(input_ids.shape), IGNORE_INDEX, dtype=numpy.int32)
    labels[rows, columns + 1] = token_ids
    sequences = _split(inputs, labels, rules)
    if sequences is None or sum(sequence.response_tokens for sequence in sequences) != len(responses):
        return None
    return sequences
