"""Rows, read and encoded, with those that cannot be."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pact_plugins.audit.scoring.encoding import EncodedTurn, TurnEncoder
from pact_plugins.conversation.reading import Conversation, UnreadableRowError, read_conversation
from pact_plugins.errors import DataError

_NAMED_REASONS = 5


@dataclass(frozen=True)
class Corpus:
    """By row index: what a readable row holds, its encoded turns in the same order, or why it cannot be read."""

    rows: int
    conversations: dict[int, Conversation]
    turns: dict[int, list[EncodedTurn]]
    unreadable: dict[int, str]


def encode_rows(rows: Iterable[Any], encoder: TurnEncoder, *, skip_unreadable: bool) -> Corpus:
    """Read and encode every row.

    Raises:
        DataError: a row cannot be read and ``skip_unreadable`` is off, or none can, or there is none.
    """
    corpus = Corpus(0, {}, {}, {})
    count = 0
    for index, row in enumerate(rows):
        count += 1
        try:
            conversation = read_conversation(row)
            corpus.turns[index] = encoder.turns(conversation)
            corpus.conversations[index] = conversation
        except UnreadableRowError as error:
            corpus.unreadable[index] = str(error)
    _check(count, corpus.unreadable, skip_unreadable)
    return Corpus(count, corpus.conversations, corpus.turns, corpus.unreadable)


def _check(count: int, unreadable: dict[int, str], skip_unreadable: bool) -> None:
    if not count:
        raise DataError("the data has no row")
    named = [f"row {index}: {reason}" for index, reason in list(unreadable.items())[:_NAMED_REASONS]]
    if unreadable and not skip_unreadable:
        more = len(unreadable) - len(named)
        raise DataError(
            f"{len(unreadable)} of {count} rows cannot be read: {'; '.join(named)}"
            f"{f'; and {more} more' if more else ''}. Mend them, or leave them unscored and listed in the report "
            "(skip_unreadable, `--skip-unreadable`)"
        )
    if len(unreadable) == count:
        raise DataError(f"none of {count} rows can be read: {'; '.join(named)}")
