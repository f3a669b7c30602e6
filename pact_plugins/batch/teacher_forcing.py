"""Teacher forcing: given responses after given contexts, and the states of a decoder that predict them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from pact_plugins.batch.host import to_device
from pact_plugins.batch.sequences import group_by_length
from pact_plugins.errors import SafetyTokensError
from pact_plugins.modeling import OutputHead, evaluation_mode

SEQUENCE_TOKENS = 512
"""Of a sequence as a batch size counts them."""


@dataclass(frozen=True)
class TeacherForced:
    """A context and the response that is forced after it, as token ids."""

    context_ids: Sequence[int]
    response_ids: Sequence[int]


@dataclass(frozen=True)
class Forced:
    """One model's view of the responses.

    Attributes:
        hidden_states: per response (R_i, hidden), the states that predict its tokens, on the CPU.
        head: maps them to logits.
    """

    hidden_states: list[Tensor]
    head: OutputHead


@torch.no_grad()
def teacher_force(
    decoder: nn.Module,
    head: OutputHead,
    sequences: Sequence[TeacherForced],
    *,
    batch_size: int,
    description: str,
    progress: bool = True,
) -> Forced:
    """Run ``sequences`` through ``decoder`` in batches of similar length and keep the states that predict responses.

    Raises:
        SafetyTokensError: no sequence has a response.
    """
    if not any(len(sequence.response_ids) for sequence in sequences):
        raise SafetyTokensError("the set of refusals is empty: there is no response token to learn from")
    states: list[Tensor] = [torch.empty(0)] * len(sequences)
    for index, hidden in forced_states(
        decoder, sequences, batch_size=batch_size, description=description, progress=progress
    ):
        states[index] = hidden.cpu()
    return Forced(states, head)


@torch.no_grad()
def forced_states(
    decoder: nn.Module,
    sequences: Sequence[TeacherForced],
    *,
    batch_size: int,
    description: str,
    progress: bool = True,
) -> Iterator[tuple[int, Tensor]]:
    """Yield, in batches of similar length, a sequence's index and the (R, hidden) states that predict its response.

    They are views of the batch's states, on the decoder's device: who keeps them copies them.

    Args:
        batch_size: sequences in a batch where they are of ``SEQUENCE_TOKENS``, shorter ones more.
    """
    device = next(decoder.parameters()).device
    lengths = [len(one.context_ids) + len(one.response_ids) for one in sequences]
    with (
        evaluation_mode(decoder),
        tqdm(total=len(sequences), desc=description, disable=not progress, leave=False) as bar,
    ):
        for batch in group_by_length(lengths, max_tokens=batch_size * SEQUENCE_TOKENS):
            input_ids, attention_mask = right_padded([sequences[index] for index in batch], device)
            hidden = decoder(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)[0]
            for row, index in enumerate(batch):
                first = len(sequences[index].context_ids) - 1
                count = len(sequences[index].response_ids)
                yield index, hidden[row, first : first + count]
            bar.update(len(batch))


def right_padded(
    sequences: Sequence[TeacherForced], device: torch.device, *, at_least: int = 0
) -> tuple[Tensor, Tensor]:
    """``input_ids`` and ``attention_mask`` of context and response without its last token, int64.

    Both are (B, L), with L the length of the longest, or ``at_least`` where that is more.
    """
    # The last response token predicts nothing that is scored; padding with any id is masked.
    rows = [[*sequence.context_ids, *sequence.response_ids][:-1] for sequence in sequences]
    table = numpy.zeros((2, len(rows), max(at_least, *map(len, rows))), dtype=numpy.int64)
    for number, row in enumerate(rows):
        table[0, number, : len(row)] = row
        table[1, number, : len(row)] = 1
    input_ids, attention_mask = to_device(table, device).unbind(0)
    return input_ids, attention_mask
