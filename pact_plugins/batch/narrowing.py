"""A question about some of a micro-batch's responses: no more rows are run than hold one of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy
import torch
from torch import Tensor

from pact_plugins.batch.host import Array, to_device
from pact_plugins.batch.responses import Responses


def narrowed(responses: Responses, inputs: dict[str, Any], tokens: Array) -> tuple[Responses, dict[str, Any]]:
    """Some of the response tokens as a batch of their own, and what the decoder receives for it.

    Args:
        responses: of the whole batch, N tokens.
        inputs: of the decoder, for the whole batch. Rows that cannot be told apart in it all stay.
        tokens: (M,) int64 ascending indices into the N tokens.
    """
    table = responses.on_host[:, tokens].copy()
    table[3] = numpy.unique(table[3], return_inverse=True)[1]
    rows, places = numpy.unique(table[0], return_inverse=True)
    chosen = _rows_of(inputs, rows)
    if chosen is not None:
        table[0] = places
    return Responses.of(table, responses.rows.device), inputs if chosen is None else chosen


def _rows_of(inputs: Mapping[str, Any], rows: Array) -> dict[str, Any] | None:
    """``inputs`` with these rows alone; None where a tensor has no row for each of the batch's."""
    input_ids = inputs.get("input_ids")
    if not isinstance(input_ids, Tensor) or input_ids.dim() != 2 or len(input_ids) == 1:
        return None
    chosen: dict[str, Any] = {}
    for name, value in inputs.items():
        shared = name == "position_ids" and isinstance(value, Tensor) and value.dim() == 2 and len(value) == 1
        if not isinstance(value, Tensor) or shared:
            # What is no single number or switch may hold rows that nobody sees here.
            if not shared and not isinstance(value, bool | int | float | str | type(None)):
                return None
            chosen[name] = value
        elif value.dim() and len(value) == len(input_ids):
            chosen[name] = value.index_select(0, to_device(rows, value.device))
        else:
            return None
    return chosen


def spread(values: Tensor, tokens: Array, count: int) -> Tensor:
    """(M, ...) values of some tokens to (count, ...) of all; zeros elsewhere. Differentiable."""
    whole = torch.zeros(count, *values.shape[1:], dtype=values.dtype, device=values.device)
    return whole.index_copy(0, to_device(tokens, values.device), values)
