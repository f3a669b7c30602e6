"""Responses without their prompts: the batch that the prompt-free reference pass of the published objective reads."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pact_plugins.batch.responses import Responses
from pact_plugins.batch.sequences import split_where_padding_ends

# Padded positions that must be saved before another forward pass pays; a pass costs time however short it is.
_WORTH_A_PASS = 512


@dataclass(frozen=True)
class PromptFreeBatch:
    """Assistant header, then the response without its last token; padded on the right.

    Attributes:
        input_ids, attention_mask: (number of responses, H + longest response - 1) int64.
        rows, columns: (N,) where the hidden state that predicts each of the N response tokens stands.
    """

    input_ids: Tensor
    attention_mask: Tensor
    rows: Tensor
    columns: Tensor


def prompt_free_batch(responses: Responses, header_ids: Sequence[int]) -> PromptFreeBatch:
    """Lay out the responses of a batch behind the assistant header.

    Args:
        responses: N tokens; those of one response are consecutive, its positions ascend by one.
        header_ids: H ids, H >= 1.
    """
    header = torch.as_tensor(header_ids, dtype=torch.long, device=responses.token_ids.device)
    index, tokens = responses.response_index, responses.token_ids
    count = int(index.max()) + 1 if len(responses) else 1
    # A response whose first label stood in column 0 starts at position 1: count from its first predicted token.
    first = torch.full((count,), torch.iinfo(torch.long).max, device=tokens.device)
    first = first.scatter_reduce(0, index, responses.positions, reduce="amin")
    offset = responses.positions - first[index]
    longest = int(offset.max()) + 1 if len(responses) else 1
    width = len(header) + longest - 1
    input_ids = torch.zeros(count, width, dtype=torch.long, device=tokens.device)
    attention_mask = torch.zeros_like(input_ids)
    input_ids[:, : len(header)] = header
    attention_mask[:, : len(header)] = 1
    # The last token of a response predicts nothing of it.
    inside = torch.zeros_like(index, dtype=torch.bool)
    inside[:-1] = index[:-1] == index[1:]
    input_ids[index[inside], len(header) + offset[inside]] = tokens[inside]
    attention_mask[index[inside], len(header) + offset[inside]] = 1
    return PromptFreeBatch(input_ids, attention_mask, index, len(header) - 1 + offset)


def similar_lengths(batch: PromptFreeBatch, *, one_pass: bool = False) -> Iterator[tuple[Tensor, PromptFreeBatch]]:
    """``batch`` in parts without much padding, each with the (n,) indices of its tokens among the N of the whole.

    Args:
        one_pass: whatever the padding, there must be one part.
    """
    lengths = batch.attention_mask.sum(dim=1).tolist()
    for group in split_where_padding_ends(lengths, worth=math.inf if one_pass else _WORTH_A_PASS):
        rows = torch.tensor(group, device=batch.rows.device)
        place = torch.full((len(lengths),), -1, device=batch.rows.device)
        place[rows] = torch.arange(len(group), device=batch.rows.device)
        tokens = (place[batch.rows] >= 0).nonzero()[:, 0]
        width = lengths[group[0]]
        yield (
            tokens,
            PromptFreeBatch(
                batch.input_ids[rows, :width],
                batch.attention_mask[rows, :width],
                place[batch.rows[tokens]],
                batch.columns[tokens],
            ),
        )
