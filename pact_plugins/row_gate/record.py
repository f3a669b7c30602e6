"""Which responses the row gate acted on: by content while training, with their place in the training set afterwards."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import Tensor
from tqdm.auto import tqdm

from pact_plugins.batch.host import Array, on_host
from pact_plugins.batch.micro_batch import MicroBatch
from pact_plugins.batch.sequences import ContextRules, TokenSequence, response_spans, split_sequences
from pact_plugins.batch.training_data import TrainingData
from pact_plugins.distributed import gathered_text
from pact_plugins.errors import ConfigurationError
from pact_plugins.messages import is_main_process

SHOWN_CHARACTERS = 100
MOST_KEPT = 10_000
MOST_SEARCHED = 200_000
"""Rows of a training set that is read once more to find the places of the gated ones."""


@dataclass(frozen=True)
class GatedRow:
    """A gated response.

    Attributes:
        row: its place in the trainer's training set, where that can be known.
        sequence: the content of its sequence, as 32 hexadecimal digits: the same however it is shuffled and packed.
        response: its number in its sequence, from 0.
        score: the reference's probability of a refusal.
        prompt: the end of what stands before the response.
        text: the first words of the response.
    """

    row: int | None
    sequence: str
    response: int
    score: float
    prompt: str
    text: str


class GatedRows:
    """The gated responses of a run, each kept once.

    Args:
        tokenizer: to show them as text.
        rules: what a token of a packed or padded row can see.
    """

    def __init__(self, tokenizer: Any, rules: ContextRules) -> None:
        self._tokenizer, self._rules = tokenizer, rules
        self._rows: dict[tuple[str, int], GatedRow] = {}

    def add(self, batch: MicroBatch, scores: Array, gated: Array) -> None:
        """Remember the gated responses of one micro-batch.

        Args:
            scores: (R,) one per response, in the order of ``find_responses``.
            gated: (R,) bool.
        """
        numbered = self._numbered(batch.inputs, batch.response_labels, len(scores))
        for index in gated.nonzero()[0].tolist():
            if len(self._rows) >= MOST_KEPT or numbered is None:
                return
            sequence, number = numbered[index]
            key = (sequence.key.hex(), number)
            if key not in self._rows:
                begin, end = response_spans(sequence.labels)[number]
                self._rows[key] = GatedRow(
                    None,
                    *key,
                    round(float(scores[index]), 6),
                    self._text(sequence.input_ids[:begin])[-SHOWN_CHARACTERS:],
                    self._text(sequence.input_ids[begin:end])[:SHOWN_CHARACTERS],
                )

    def restore(self, rows: Any) -> None:
        """Take up what ``everywhere`` gave before. Each rank may: every response is counted once.

        Raises:
            ConfigurationError: it is no list of gated rows.
        """
        try:
            earlier = [GatedRow(**row) for row in rows]
        except TypeError:
            raise ConfigurationError(
                "the checkpoint's trainer_state.json says something else of gated rows than this version writes; "
                "resume with the version that wrote it, or take the entry pact out of its stateful_callbacks"
            ) from None
        self._rows = {(row.sequence, row.response): row for row in earlier} | self._rows

    def _numbered(
        self, decoder_inputs: dict[str, Any], labels: Tensor, count: int
    ) -> list[tuple[TokenSequence, int]] | None:
        """The sequence of each response and its number in it; whole rows where sequences cannot be told apart."""
        sequences = split_sequences(decoder_inputs, labels, self._rules)
        if sequences is None:
            input_ids = decoder_inputs.get("input_ids")
            if input_ids is None:
                return None
            ids, targets = (on_host(tensor).astype("int32") for tensor in (input_ids, labels))
            sequences = [TokenSequence(ids[row], targets[row]) for row in range(len(ids))]
        numbered = [(sequence, number) for sequence in sequences for number in range(sequence.responses)]
        return numbered if len(numbered) == count else None

    def _text(self, ids: Array) -> str:
        return str(self._tokenizer.decode(ids.tolist(), skip_special_tokens=True)).strip()

    def everywhere(self, data: TrainingData | None) -> list[dict[str, Any]]:
        """The rows of all ranks, the highest score first. Every rank must call it.

        Args:
            data: the training set, where it can be read: the places are looked up in it.
        """
        rows = _merged(gathered_text(json.dumps([asdict(row) for row in self._rows.values()])))
        if rows and data is not None and len(data) <= MOST_SEARCHED:
            places = _merged_places(gathered_text(json.dumps(self._places(data, {row.sequence for row in rows}))))
            rows = [replace(row, row=places.get(row.sequence)) for row in rows]
        return [asdict(row) for row in sorted(rows, key=lambda row: (-row.score, row.sequence, row.response))]

    def _places(self, data: TrainingData, wanted: set[str]) -> dict[str, int]:
        found: dict[str, int] = {}
        bar = tqdm(data.rows(self._rules), desc="finding gated rows", disable=not is_main_process(), leave=False)
        for row in bar:
            for sequence in row.sequences or ():
                key = sequence.key.hex()
                if key in wanted:
                    found.setdefault(key, row.index)
        return found


def _merged(texts: list[str]) -> list[GatedRow]:
    rows = [GatedRow(**row) for text in texts for row in json.loads(text)]
    return list({(row.sequence, row.response): row for row in rows}.values())


def _merged_places(texts: list[str]) -> dict[str, int]:
    merged: dict[str, int] = {}
    for text in texts:
        for sequence, row in json.loads(text).items():
            merged[sequence] = min(row, merged.get(sequence, row))
    return merged
