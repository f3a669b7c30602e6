"""Filling the reference cache without a trainer: chat rows as the trainers tokenise and label them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from pact_plugins.batch.responses import IGNORE_INDEX, response_labels
from pact_plugins.batch.sequences import ContextRules, TokenSequence, split_sequences
from pact_plugins.contracts import ReferenceContext
from pact_plugins.conversation import AssistantTurns, learn_turns
from pact_plugins.conversation.reading import Conversation, UnreadableRowError, open_source, read_conversation
from pact_plugins.errors import ConfigurationError, DataError
from pact_plugins.files import cache_folder
from pact_plugins.modeling.chat import encode, render
from pact_plugins.reference.cache.description import shard_names
from pact_plugins.reference.cache.listing import remove_store
from pact_plugins.reference.cache.predicting import Prediction
from pact_plugins.reference.cached import CachedReference
from pact_plugins.reference.masses import RefusalMasses


class RowsToCache:
    """The sequences of some rows, and what the cache lacks of them.

    Args:
        context: what the run will ask of its reference.

    Raises:
        ConfigurationError: the cache cannot be written, or cannot hold what the objective needs.
    """

    def __init__(self, context: ReferenceContext, sequences: Sequence[TokenSequence]) -> None:
        self._sequences, self._context = sequences, context
        stores = cache_folder(context.settings.cache_path) / "reference"
        before = {path.name for path in stores.iterdir()} if stores.is_dir() else set()
        self._reference = CachedReference(context, must_keep=True)
        self._is_new = self.folder.name not in before

    @property
    def folder(self) -> Path:
        """The store's."""
        return self._reference.store.folder

    def fill(self) -> int:
        """Compute what is missing, refusal masses too; the number of sequences whose logits are then there."""
        if self._context.refusals is not None:
            masses = RefusalMasses(self._reference, self._context.refusals, self._context)
            masses.fill_with(self._sequences)
        if self._context.asks_logits:
            self._reference.fill_with(lambda: self._sequences)
        return len(self._reference.store)

    def predict(self) -> Prediction:
        """What ``fill`` would take. A few batches are computed; the cache stays as it was."""
        prediction = self._reference.predict(self._sequences if self._context.asks_logits else ())
        if self._is_new and not shard_names(self.folder):
            remove_store(self.folder)
        return prediction


def sequences_of_rows(tokenizer: Any, rows: Iterable[Conversation], *, max_length: int | None) -> list[TokenSequence]:
    """Those of conversations that teach something: the assistant's turns, or the completion of a prompt.

    Args:
        max_length: rows are cut after this many tokens.

    Raises:
        ConfigurationError: the chat template refuses a row, or does not tell an assistant's turn from another's.
    """
    turns = learn_turns(tokenizer)
    if turns is None:
        raise ConfigurationError(
            f"the tokenizer {getattr(tokenizer, 'name_or_path', '')!r} has no chat template that tells an assistant's "
            "turn from another's"
        )
    found = (_sequence_of(tokenizer, row, number, turns, max_length) for number, row in enumerate(rows, start=1))
    return [sequence for sequence in found if sequence is not None]


def read_chat_rows(file: str) -> list[Conversation]:
    """The conversations of a file: ``messages``, ``conversations``, ``prompt`` with ``completion``, ``instruction``.

    Raises:
        DataError: it cannot be read, or a row is none; the message names file and row.
    """
    found = []
    for number, row in enumerate(open_source(file).rows, start=1):
        try:
            found.append(read_conversation(row))
        except UnreadableRowError as error:
            raise DataError(f"DATA: row {number} of {file}: {error}; found {row!r:.80}") from None
    return found


def _sequence_of(
    tokenizer: Any, row: Conversation, number: int, turns: AssistantTurns, max_length: int | None
) -> TokenSequence | None:
    """One row as the trainers tokenise it; None where no label is left of it."""
    prompt = 0
    try:
        ids = _ids(tokenizer, row, len(row.messages))
        if row.first_response:
            prompt = len(_ids(tokenizer, row, row.first_response, add_generation_prompt=True))
    # A template is somebody's program, and may raise what it likes.
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigurationError(f"DATA: the chat template refuses conversation {number}: {reason}") from error
    input_ids = torch.tensor([ids[:max_length]])
    labels = input_ids.clone()
    labels[:, :prompt] = IGNORE_INDEX
    labels = response_labels(labels, {"input_ids": input_ids}, turns)
    found = split_sequences({"input_ids": input_ids}, labels, ContextRules())
    return found[0] if found else None


def _ids(tokenizer: Any, row: Conversation, count: int, *, add_generation_prompt: bool = False) -> list[int]:
    messages, arguments = row.messages[:count], row.template_arguments
    return encode(tokenizer, render(tokenizer, messages, add_generation_prompt=add_generation_prompt, **arguments))
