"""Openings: the token sequences with which refusals begin, and how probable it is that a reply begins with one.

In a language one first token tells no refusal: ``I`` opens "I can't help with that" and "I like it". An opening is as
long as it has to be, and no longer: a single token where that is enough.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from pact_plugins.batch.sequences import group_by_length
from pact_plugins.batch.teacher_forcing import TeacherForced, right_padded
from pact_plugins.conversation import ChatQuestion
from pact_plugins.distributed import largest
from pact_plugins.modeling import OutputHead

Prefix = tuple[int, ...]

_TOKENS_AT_A_TIME = 8192
# Positions that are projected on the whole vocabulary at once.
_POSITIONS = 64
# What is behind a less probable beginning cannot change a verdict.
_NEGLIGIBLE = 1e-3


@dataclass(frozen=True)
class Openings:
    """Token sequences, none of which is the beginning of another.

    Raises:
        ValueError: one is empty, or is the beginning of another.
    """

    sequences: tuple[Prefix, ...]

    def __post_init__(self) -> None:
        inner = {sequence[:length] for sequence in self.sequences for length in range(len(sequence))}
        for sequence in self.sequences:
            if not sequence or sequence in inner:
                raise ValueError(f"{list(sequence)} is empty or the beginning of another opening")

    @cached_property
    def prefixes(self) -> tuple[Prefix, ...]:
        """Every beginning after which something is still to come, the empty one first, then by length."""
        found = dict.fromkeys(sequence[:length] for sequence in self.sequences for length in range(len(sequence)))
        return tuple(sorted(found, key=len))

    def of_one_token(self) -> Openings:
        """Those that a reply's first token tells."""
        return Openings(tuple(sequence for sequence in self.sequences if len(sequence) == 1))

    def after(self, prefix: Prefix) -> tuple[list[int], list[int]]:
        """Next tokens that complete an opening, and next tokens after which more must follow."""
        place = len(prefix)
        continued = [sequence for sequence in self.sequences if sequence[:place] == prefix and len(sequence) > place]
        complete = dict.fromkeys(sequence[place] for sequence in continued if len(sequence) == place + 1)
        inner = dict.fromkeys(sequence[place] for sequence in continued if len(sequence) > place + 1)
        return list(complete), list(inner)


@dataclass(frozen=True)
class RefusalCriterion:
    """What counts as a refusal: a reply that begins with one of the openings.

    Attributes:
        openings: of refusals.
        exact_above: a probability that is certainly no larger may be given as an upper bound of it.
        question: how a context is put to the reference, where rows hold it otherwise than it is asked when it is used.
    """

    openings: Openings
    exact_above: float
    question: ChatQuestion | None = None


@dataclass(frozen=True)
class Replier:
    """Whose replies are asked for: a decoder in evaluation mode, and its output embedding.

    Attributes:
        everywhere: make every pass over every context; where parameters are sharded, the ranks must not differ.
        autocast: the precision that the decoder runs under.
    """

    decoder: nn.Module
    head: OutputHead
    everywhere: bool = False
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext


@torch.no_grad()
def opening_mass(
    replier: Replier, contexts: Sequence[Sequence[int]], criterion: RefusalCriterion, first_states: Tensor | None = None
) -> Tensor:
    """(number of contexts,) float32 on the CPU: the probability that the reply begins with one of the openings.

    The sum over openings ``o`` of ``prod_i p(o_i | context, o_<i)``. One pass for the first token (none where its
    states are given), and one for each longer beginning, over the contexts that it can matter for.

    Args:
        contexts: token ids, up to where the reply begins.
        first_states: (number of contexts, hidden), that predict the first token of each reply.
    """
    openings, count = criterion.openings, len(contexts)
    mass = torch.zeros(count)
    reach: dict[Prefix, Tensor] = {(): torch.ones(count)}
    unsure = torch.ones(count, dtype=torch.bool)
    for prefix in openings.prefixes:
        complete, inner = openings.after(prefix)
        asked = (unsure & (reach[prefix] > _NEGLIGIBLE)) | replier.everywhere
        indices = asked.nonzero()[:, 0].tolist()
        if prefix == () and first_states is not None:
            columns = _columns(replier.head, first_states, complete + inner)
        else:
            columns = next_probabilities(replier, [[*contexts[i], *prefix] for i in indices], complete + inner)
        joint = torch.zeros(count, columns.size(1))
        joint[indices] = columns * reach[prefix][indices, None]
        mass += joint[:, : len(complete)].sum(dim=-1)
        for place, token in enumerate(inner, start=len(complete)):
            reach[(*prefix, token)] = joint[:, place]
        if prefix == ():
            bound = mass + joint[:, len(complete) :].sum(dim=-1)
            unsure = bound > criterion.exact_above
            mass = torch.where(unsure, mass, bound)
    return mass


@torch.no_grad()
def next_probabilities(replier: Replier, contexts: Sequence[Sequence[int]], token_ids: Sequence[int]) -> Tensor:
    """(number of contexts, number of tokens) float32 on the CPU: p(token | context)."""
    result = torch.zeros(len(contexts), len(token_ids))
    device = next(replier.decoder.parameters()).device
    groups = group_by_length([len(context) for context in contexts], max_tokens=_TOKENS_AT_A_TIME)
    # Every rank makes as many passes as the one that has most to ask.
    rounds = largest(max(1, len(groups))) if replier.everywhere else len(groups)
    for group in [*groups, *([[]] * (rounds - len(groups)))]:
        # What would follow the context does not matter: its last state is what is wanted.
        batch = [TeacherForced(contexts[index], [0]) for index in group] or [TeacherForced([0], [0])]
        input_ids, attention_mask = right_padded(batch, device)
        with replier.autocast():
            hidden = replier.decoder(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)[0]
        last = torch.tensor([len(one.context_ids) - 1 for one in batch], device=hidden.device)
        states = hidden[torch.arange(len(batch), device=hidden.device), last]
        columns = _columns(replier.head, states, token_ids)
        result[group] = columns[: len(group)]
    return result


def _columns(head: OutputHead, states: Tensor, token_ids: Sequence[int]) -> Tensor:
    """(n, hidden) -> (n, number of tokens) float32 on the CPU."""
    index: Any = list(token_ids)
    chunks = [
        torch.softmax(head.logits(part, None), dim=-1)[:, index].float().cpu() for part in states.split(_POSITIONS)
    ]
    return torch.cat(chunks) if chunks else torch.zeros(0, len(index))
