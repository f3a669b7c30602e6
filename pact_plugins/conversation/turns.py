"""An assistant's turns in token ids: found by what the chat template writes before and after them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy

Array = numpy.ndarray[Any, Any]
Ids = tuple[int, ...]


@dataclass(frozen=True)
class Turn:
    """One turn of the assistant's, as places in flattened token ids.

    Attributes:
        header: where the template's words before it begin.
        begin, end: of what the assistant writes, the end-of-turn token included.
    """

    header: int
    begin: int
    end: int


@dataclass(frozen=True)
class AssistantTurns:
    """What a chat template writes around the turns of a conversation.

    Attributes:
        headers: before what the assistant writes, in all its forms: with and without an empty block of thoughts, say.
        ends: after it, as far as the assistant writes it itself; none where the template has no such mark.
        openings: before what anybody else writes.
        trailing: tokens that may follow an end and belong to nobody: line breaks, the end of the sequence.
        start: the token that begins every conversation, if one does.
    """

    headers: tuple[Ids, ...]
    ends: tuple[Ids, ...]
    openings: tuple[Ids, ...]
    trailing: frozenset[int] = frozenset()
    start: int | None = None

    def find(self, input_ids: Array, starts: Array) -> list[Turn]:
        """Every turn of the assistant's, in order.

        Args:
            input_ids: (B, L), integers.
            starts: (B, L) bool, where a sequence begins in its row; the first column counts as one.
        """
        return self._find(input_ids.ravel(), _numbers(starts))[0]

    def _find(self, flat: Array, number: Array) -> tuple[list[Turn], list[int]]:
        """The assistant's turns, and where those of others begin."""
        headers, ends = _joined(_matches(flat, number, self._headers)), dict(_matches(flat, number, self._ends))
        others = [begin for begin, _ in _matches(flat, number, self._openings)]
        stops = {*others, *(begin for begin, _ in headers), *(numpy.diff(number).nonzero()[0] + 1).tolist(), len(flat)}
        if self.start is not None:
            stops.update((flat == self.start).nonzero()[0].tolist())
        ordered, closings = sorted(stops), sorted(ends)
        turns = []
        for header, begin in headers:
            stop, closing = _next(ordered, begin), _next(closings, begin)
            turns.append(Turn(header, begin, ends[closing] if closing < stop else stop))
        return turns, others

    def answers(self, input_ids: Array, labelled: Array, starts: Array) -> Array | None:
        """(B, L) bool: the labelled tokens that the assistant wrote; None where there are no others.

        A sequence that is no conversation is left as it is, and so is one whose labels lie in the assistant's turns and
        what may follow them: there the labels say more exactly what a response is. So is the beginning of one that was
        cut off in the middle of a turn.

        Args:
            input_ids: (B, L), integers.
            labelled: (B, L) bool.
            starts: (B, L) bool, as of ``find``.
        """
        flat, number = input_ids.ravel(), _numbers(starts)
        turns, openings = self._find(flat, number)
        if not turns and not openings:
            return None
        before = numpy.concatenate([[0], labelled.ravel().cumsum()])
        kept = labelled.ravel().copy()
        is_changed = False
        for own, (group, others) in _by_sequence(turns, openings, number).items():
            begin, end = (int(numpy.searchsorted(number, own, side=side)) for side in ("left", "right"))
            spans = self._others(flat, kept, group, begin, end) if group else [(others[0], end)]
            if any(before[last] > before[first] for first, last in spans):
                is_changed = True
                answered = numpy.zeros(end - begin, dtype=bool)
                for turn in group:
                    answered[turn.begin - begin : turn.end - begin] = True
                kept[begin:end] &= answered
        return kept.reshape(labelled.shape) if is_changed else None

    def _others(
        self, flat: Array, labelled: Array, turns: Sequence[Turn], begin: int, end: int
    ) -> list[tuple[int, int]]:
        """What the assistant did not write of the sequence from ``begin`` to ``end``."""
        first = begin
        while first < turns[0].header and labelled[first]:
            first += 1
        # Labels from the very beginning that end before the header are what a cut has left of an earlier turn.
        spans = [(begin if first == turns[0].header else first, turns[0].header)]
        spans += [(turn.header, turn.begin) for turn in turns]
        for turn, following in zip(turns, [*(turn.header for turn in turns[1:]), end], strict=True):
            behind = turn.end
            while behind < following and int(flat[behind]) in self.trailing:
                behind += 1
            spans.append((behind, following))
        return spans

    def is_conversation(self, input_ids: Array, starts: Array) -> bool:
        """Whether the chat template has been at these tokens: somebody's turn begins in them.

        Args:
            input_ids, starts: as of ``find``.
        """
        turns, openings = self._find(input_ids.ravel(), _numbers(starts))
        return bool(turns or openings)

    @cached_property
    def _headers(self) -> _Patterns:
        return _Patterns.of(self.headers)

    @cached_property
    def _ends(self) -> _Patterns:
        return _Patterns.of(self.ends)

    @cached_property
    def _openings(self) -> _Patterns:
        return _Patterns.of(self.openings)


@dataclass(frozen=True)
class _Patterns:
    """Token sequences, the longest first, and the tokens that they begin with."""

    sequences: tuple[Ids, ...]
    first: Array

    @classmethod
    def of(cls, sequences: Iterable[Ids]) -> _Patterns:
        ordered = tuple(sorted(set(sequences), key=len, reverse=True))
        return cls(ordered, numpy.unique(numpy.array([sequence[0] for sequence in ordered], dtype=numpy.int64)))


def _by_sequence(
    turns: Sequence[Turn], openings: Sequence[int], number: Array
) -> dict[int, tuple[list[Turn], list[int]]]:
    groups: dict[int, tuple[list[Turn], list[int]]] = {}
    for turn in turns:
        groups.setdefault(int(number[turn.header]), ([], []))[0].append(turn)
    for opening in openings:
        groups.setdefault(int(number[opening]), ([], []))[1].append(opening)
    return groups


def _numbers(starts: Array) -> Array:
    """(B * L,) which sequence a place belongs to, ascending."""
    begins = starts.copy()
    begins[:, :1] = True
    numbers: Array = begins.ravel().cumsum()
    return numbers


def _matches(flat: Array, number: Array, patterns: _Patterns) -> list[tuple[int, int]]:
    """Begin and end of the longest pattern at each place, in order; none goes over the border of a sequence."""
    found: dict[int, int] = {}
    possible = numpy.zeros(len(flat), dtype=bool)
    for token in patterns.first:
        possible |= flat == token
    candidates = possible.nonzero()[0]
    for pattern in patterns.sequences:
        last = candidates + len(pattern) - 1
        places = candidates[last < len(flat)]
        fits = number[places] == number[places + len(pattern) - 1]
        for offset, token in enumerate(pattern):
            fits &= flat[places + offset] == token
        for place in places[fits].tolist():
            found.setdefault(place, place + len(pattern))
    return sorted(found.items())


def _joined(matches: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Those that overlap are forms of one."""
    joined: list[tuple[int, int]] = []
    for begin, end in matches:
        if joined and begin < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((begin, end))
    return joined


def _next(places: Sequence[int], at_least: int) -> int:
    """The first of ascending places that is not before ``at_least``; beyond all of them where there is none."""
    index = bisect_left(places, at_least)
    return places[index] if index < len(places) else 2**62
