"""Which responses the gate acted on, by content: shuffling, packing and epochs do not matter."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from pact_plugins.distributed import gathered_text
from pact_plugins.training.responses import Responses

_SHOWN_CHARACTERS = 100
MOST_KEPT = 10_000


@dataclass(frozen=True)
class GatedRow:
    """A gated response.

    Attributes:
        sequence: 16 hexadecimal digits over the token ids of its context, up to the response.
        response: its number in its sequence, from 0.
        score: the reference's probability of a refusal.
        text: the end of its context and the first words of the response.
    """

    sequence: str
    response: int
    score: float
    text: str


class GatedRows:
    """The gated responses of a run; each is kept once."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._rows: dict[tuple[str, int], GatedRow] = {}

    def add(self, decoder_inputs: dict[str, Any], responses: Responses, scores: Tensor, gated: Tensor) -> None:
        """Remember the gated responses of one micro-batch.

        Args:
            decoder_inputs: with ``input_ids`` (B, L), and ``position_ids`` where sequences are packed.
            scores: (R,) one per response.
            gated: (R,) bool.
        """
        input_ids = decoder_inputs.get("input_ids")
        if input_ids is None or len(self._rows) >= MOST_KEPT:
            return
        first = responses.first_tokens
        for number in gated.nonzero()[:, 0].tolist():
            token = int(first[number])
            row, column = int(responses.rows[token]), int(responses.columns[token]) + 1
            start = _sequence_start(decoder_inputs, row, column)
            ids = input_ids[row, start:column].tolist()
            earlier = (responses.rows[first] == row) & (responses.columns[first] + 1 < column)
            earlier &= responses.columns[first] + 1 >= start
            length = int((responses.response_index == number).sum())
            self._keep(
                ids, input_ids[row, column : column + length].tolist(), int(earlier.sum()), float(scores[number])
            )

    def _keep(self, context: list[int], response: list[int], number: int, score: float) -> None:
        key = (hashlib.sha256(json.dumps([context, response]).encode()).hexdigest()[:16], number)
        if key not in self._rows:
            text = self._tokenizer.decode(context, skip_special_tokens=True).strip()[-_SHOWN_CHARACTERS:]
            reply = self._tokenizer.decode(response, skip_special_tokens=True).strip()[:_SHOWN_CHARACTERS]
            self._rows[key] = GatedRow(key[0], number, round(score, 6), f"{text} | {reply}")

    def everywhere(self) -> list[dict[str, Any]]:
        """The rows of all ranks, the highest score first. Every rank must call it."""
        texts = gathered_text(json.dumps([asdict(row) for row in self._rows.values()]))
        rows = {(row["sequence"], row["response"]): row for text in texts for row in json.loads(text)}
        return sorted(rows.values(), key=lambda row: (-row["score"], row["sequence"]))


def _sequence_start(decoder_inputs: dict[str, Any], row: int, column: int) -> int:
    """The column where the sequence that holds ``column`` begins: after padding, and after packed neighbours."""
    positions, mask = decoder_inputs.get("position_ids"), decoder_inputs.get("attention_mask")
    if positions is not None and positions.dim() == 2:
        earlier = positions[min(row, positions.size(0) - 1), : column + 1]
        restarts = (earlier[1:] <= earlier[:-1]).nonzero()[:, 0]
        if len(restarts):
            return int(restarts[-1]) + 1
    if mask is not None and mask.dim() == 2:
        real = mask[row, :column].nonzero()[:, 0]
        return int(real[0]) if len(real) else 0
    return 0
