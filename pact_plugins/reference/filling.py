"""Filling the reference cache without a trainer: chat rows as the trainers tokenise and label them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy

from pact_plugins.batch.responses import IGNORE_INDEX
from pact_plugins.batch.sequences import TokenSequence
from pact_plugins.contracts import ReferenceContext
from pact_plugins.errors import ConfigurationError
from pact_plugins.files import cache_folder, read_rows
from pact_plugins.reference.cache.listing import remove_store
from pact_plugins.reference.cache.predicting import Prediction
from pact_plugins.reference.cache.store import shard_names
from pact_plugins.reference.cached import CachedReference


class RowsToCache:
    """The sequences of some rows, and what the cache lacks of them.

    Args:
        context: what the run will ask of its reference.

    Raises:
        ConfigurationError: the cache cannot be written, or cannot hold what the objective needs.
    """

    def __init__(self, context: ReferenceContext, sequences: Sequence[TokenSequence]) -> None:
        self._sequences = sequences
        stores = cache_folder(context.config.cache_path) / "reference"
        before = {path.name for path in stores.iterdir()} if stores.is_dir() else set()
        self._reference = CachedReference(context, must_keep=True)
        self._is_new = self.folder.name not in before

    @property
    def folder(self) -> Path:
        """The store's."""
        return self._reference.store.folder

    def fill(self) -> int:
        """Compute what is missing; the number of sequences that are then there."""
        self._reference.fill_with(lambda: self._sequences)
        return len(self._reference.store)

    def predict(self) -> Prediction:
        """What ``fill`` would take. A few batches are computed; the cache stays as it was."""
        prediction = self._reference.predict(self._sequences)
        if self._is_new and not shard_names(self.folder):
            remove_store(self.folder.parent, self.folder.name)
        return prediction


def sequences_of_rows(
    tokenizer: Any, rows: Sequence[Any], *, max_length: int | None, label_all: bool
) -> list[TokenSequence]:
    """Those of chat rows that teach something.

    Args:
        rows: as ``read_chat_rows`` gives them.
        max_length: rows are cut after this many tokens.
        label_all: ``messages`` rows teach every token, not the assistant's turns alone.
    """
    found = [sequence_of(tokenizer, row, max_length=max_length, label_all=label_all) for row in rows]
    return [sequence for sequence in found if sequence is not None]


def read_chat_rows(file: str | os.PathLike[str]) -> list[Any]:
    """Mappings with ``prompt`` and ``completion`` or ``response``, or with ``messages``, of a JSON or JSONL file.

    Raises:
        ConfigurationError: it cannot be read, or a row is none; the message names file and row.
    """
    rows = read_rows(file, key="DATA")
    for number, row in enumerate(rows, start=1):
        if wrong := _what_is_wrong(row):
            raise ConfigurationError(f"DATA: row {number} of {file}: {wrong}; found {row!r:.80}")
    return rows


def _what_is_wrong(row: Any) -> str | None:
    """Why ``row`` is no chat row, in words; None where it is one."""
    if not isinstance(row, Mapping) or not ("messages" in row or "prompt" in row):
        return "expected prompt and completion (or response), or messages"
    if "messages" in row:
        return None if _are_messages(row["messages"]) else "messages is no list of messages with role and content"
    for keys in (("prompt",), ("completion", "response")):
        value = next((row[key] for key in keys if row.get(key) is not None), None)
        if not isinstance(value, str) and not _are_messages(value):
            return f"{' or '.join(keys)} is neither a text nor a list of messages with role and content"
    return None


def _are_messages(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(one, Mapping) and {"role", "content"} <= one.keys() for one in value
    )


def sequence_of(tokenizer: Any, row: Any, *, max_length: int | None, label_all: bool) -> TokenSequence | None:
    """One chat row as the trainers tokenise it; None where no label is left of it."""
    labelled: list[tuple[int, bool]] = []
    if "messages" in row:
        for ids, teaches in _turns(tokenizer, row["messages"]):
            labelled += [(token, teaches or label_all) for token in ids]
    else:
        completion = row.get("completion", row.get("response"))
        prompt = _as_messages(row["prompt"], "user")
        opening = _ids(tokenizer, prompt, generation_prompt=True)
        whole = _ids(tokenizer, [*prompt, *_as_messages(completion, "assistant")], generation_prompt=False)
        labelled = [(token, index >= len(opening)) for index, token in enumerate(whole)]
    return _cut(labelled[:max_length])


def _cut(labelled: list[tuple[int, bool]]) -> TokenSequence | None:
    taught = [index for index, (_, teaches) in enumerate(labelled) if teaches and index]
    if not taught:
        return None
    kept = labelled[: taught[-1] + 1]
    labels = [token if teaches and index else IGNORE_INDEX for index, (token, teaches) in enumerate(kept)]
    return TokenSequence(
        numpy.array([token for token, _ in kept], dtype=numpy.int32), numpy.array(labels, dtype=numpy.int32)
    )


def _turns(tokenizer: Any, messages: list[dict[str, str]]) -> Iterator[tuple[list[int], bool]]:
    """The tokens that each message adds to the conversation, and whether the assistant wrote them."""
    before: list[int] = []
    for number, message in enumerate(messages):
        if message["role"] == "assistant":
            opening = _ids(tokenizer, messages[:number], generation_prompt=True) if number else []
            yield opening[len(before) :], False
            before = opening
        whole = _ids(tokenizer, messages[: number + 1], generation_prompt=False)
        yield whole[len(before) :], message["role"] == "assistant"
        before = whole


def _as_messages(value: Any, role: str) -> list[dict[str, str]]:
    return [{"role": role, "content": value}] if isinstance(value, str) else list(value)


def _ids(tokenizer: Any, messages: list[dict[str, str]], *, generation_prompt: bool) -> list[int]:
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=generation_prompt)
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])
