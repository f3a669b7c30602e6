"""Batches as trainers make them, drawn by hypothesis: what stands where, and which token belongs to which response."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import Tensor

IGNORED = -100
TOKENS = st.integers(5, 359)


@dataclass(frozen=True)
class Token:
    """One token of a sequence, and whether the trainer labels it."""

    index: int
    labelled: bool


@dataclass(frozen=True)
class Place:
    """A token that something predicts: its row, column, position in its response, and the response's number."""

    row: int
    column: int
    position: int
    response: int
    index: int


@dataclass(frozen=True)
class Layout:
    """A batch.

    Attributes:
        rows: the sequences of each row, one after another.
        left, right: padding of each row.
        width: of the batch.
        positions: ``none``, ``zero`` or ``one`` (what padding is given).
    """

    rows: tuple[tuple[tuple[Token, ...], ...], ...]
    left: tuple[int, ...]
    width: int
    positions: str

    @property
    def is_packed(self) -> bool:
        """Whether a row holds several sequences."""
        return any(len(row) > 1 for row in self.rows)

    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """(B, L) ids, labels, mask (numbers of the sequences, 0 for padding), and positions or None."""
        shape = (len(self.rows), self.width)
        ids, labels, mask = torch.zeros(shape).long(), torch.full(shape, IGNORED), torch.zeros(shape).long()
        positions = torch.full(shape, int(self.positions == "one"))
        for number, row in enumerate(self.rows):
            column = self.left[number]
            for count, sequence in enumerate(row):
                for place, token in enumerate(sequence):
                    ids[number, column] = token.index
                    mask[number, column] = count + 1
                    positions[number, column] = place
                    if token.labelled:
                        labels[number, column] = token.index
                    column += 1
        return ids, labels, mask, None if self.positions == "none" else positions

    def places(self) -> list[Place]:
        """What is predicted, row by row, in order; counted with plain loops."""
        found: list[Place] = []
        response = -1
        for number, row in enumerate(self.rows):
            column, run, is_open = self.left[number], 0, False
            for sequence in row:
                for place, token in enumerate(sequence):
                    begins = place == 0 and self.positions != "none"
                    if begins or not token.labelled:
                        run, is_open = 0, False
                    if token.labelled:
                        # Nothing predicts the first token of a row or of a sequence, but it counts as the first.
                        if column > 0 and not begins:
                            response += not is_open
                            is_open = True
                            found.append(Place(number, column, run, response, token.index))
                        run += 1
                    column += 1
        return found


@st.composite
def sequences(draw: st.DrawFn, *, longest: int = 6) -> tuple[Token, ...]:
    """Turns of prompt and response, either possibly empty, with holes in the responses."""
    tokens: list[Token] = []
    for _ in range(draw(st.integers(1, 3))):
        # Labels that begin a sequence, right after those that ended another, are where mistakes are.
        prompt = draw(st.one_of(st.just([]), st.lists(TOKENS, max_size=longest)))
        tokens += [Token(index, False) for index in prompt]
        tokens += [Token(index, draw(st.integers(0, 9)) > 0) for index in draw(st.lists(TOKENS, max_size=longest))]
    return tuple(tokens) or (Token(draw(TOKENS), draw(st.booleans())),)


@st.composite
def layouts(draw: st.DrawFn, *, rows: int = 4, packed: int = 3) -> Layout:
    """Padded on the left, the right or both sides, packed or not."""
    count = draw(st.integers(1, rows))
    held = [tuple(draw(sequences()) for _ in range(draw(st.integers(1, packed)))) for _ in range(count)]
    left = [draw(st.integers(0, 4)) for _ in held]
    ends = [pad + sum(map(len, row)) for pad, row in zip(left, held, strict=True)]
    width = max(max(ends) + draw(st.integers(0, 3)), 2)
    return Layout(tuple(held), tuple(left), width, draw(st.sampled_from(("none", "zero", "one"))))
