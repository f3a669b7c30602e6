"""Responses without their prompts: the batch that the prompt-free reference pass of the published objective reads."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy

from pact_plugins.batch.host import Array
from pact_plugins.batch.responses import Responses
from pact_plugins.batch.sequences import split_where_padding_ends

# Padded positions that must be saved before another forward pass pays; a pass costs time however short it is.
_WORTH_A_PASS = 512


@dataclass(frozen=True)
class PromptFreeBatch:
    """Assistant header, then the response without its last token; padded on the right. On the host.

    Attributes:
        input_ids, attention_mask: (number of responses, H + longest response - 1) int64.
        rows, columns: (N,) where the hidden state that predicts each of the N response tokens stands.
    """

    input_ids: Array
    attention_mask: Array
    rows: Array
    columns: Array


def prompt_free_batch(responses: Responses, header_ids: Sequence[int]) -> PromptFreeBatch:
    """Lay out the responses of a batch behind the assistant header.

    Args:
        responses: N tokens; those of one response are consecutive, its positions ascend by one.
        header_ids: H ids, H >= 1.
    """
    _, _, positions, index, tokens = responses.on_host
    count, header = max(responses.count, 1), len(header_ids)
    # A response whose first label stood in column 0 starts at position 1: count from its first predicted token.
    offset = positions - positions[responses.first_places][index]
    width = header + (int(offset.max()) if len(responses) else 0)
    input_ids, attention_mask = numpy.zeros((2, count, width), dtype=numpy.int64)
    input_ids[:, :header], attention_mask[:, :header] = header_ids, 1
    # The last token of a response predicts nothing of it.
    inside = numpy.zeros(len(index), dtype=bool)
    inside[:-1] = index[:-1] == index[1:]
    input_ids[index[inside], header + offset[inside]] = tokens[inside]
    attention_mask[index[inside], header + offset[inside]] = 1
    return PromptFreeBatch(input_ids, attention_mask, index, header - 1 + offset)


def similar_lengths(batch: PromptFreeBatch, *, one_pass: bool = False) -> Iterator[tuple[Array, PromptFreeBatch]]:
    """``batch`` in parts without much padding, each with the (n,) indices of its tokens among the N of the whole.

    Args:
        one_pass: whatever the padding, there must be one part.
    """
    lengths = batch.attention_mask.sum(axis=1).tolist()
    for group in split_where_padding_ends(lengths, worth=math.inf if one_pass else _WORTH_A_PASS):
        place = numpy.full(len(lengths), -1)
        place[group] = numpy.arange(len(group))
        tokens = (place[batch.rows] >= 0).nonzero()[0]
        width = lengths[group[0]]
        yield (
            tokens,
            PromptFreeBatch(
                batch.input_ids[group, :width],
                batch.attention_mask[group, :width],
                place[batch.rows[tokens]],
                batch.columns[tokens],
            ),
        )
