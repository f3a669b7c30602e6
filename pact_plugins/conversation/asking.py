"""How the reference is asked about a request whose row never saw the chat template: as it is asked when it is used."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy

from pact_plugins.conversation.turns import AssistantTurns, Ids
from pact_plugins.modeling.chat import prompt_ids


class ChatQuestion:
    """Renders the prompts of plain strings by the chat template; those of conversations stay as they are.

    Args:
        tokenizer: with a chat template.
        turns: what that template writes.
    """

    def __init__(self, tokenizer: Any, turns: AssistantTurns) -> None:
        self._tokenizer, self._turns = tokenizer, turns
        self._rendered: dict[Ids, list[int]] = {}

    def __call__(self, context_ids: Sequence[int]) -> list[int]:
        """The token ids after which the reference's reply is asked for.

        Args:
            context_ids: what stands before a response in its row.
        """
        ids = tuple(context_ids)
        if ids not in self._rendered:
            self._rendered[ids] = self._render(ids)
        return self._rendered[ids]

    @property
    def fingerprint(self) -> str:
        """Of what it does, for what is kept of the answers."""
        return hashlib.sha256(str(self._tokenizer.chat_template).encode()).hexdigest()[:16]

    def _render(self, ids: Ids) -> list[int]:
        row = numpy.array([ids], dtype=numpy.int64)
        text = str(self._tokenizer.decode(list(ids), skip_special_tokens=True)).strip()
        if not text or self._turns.is_conversation(row, numpy.zeros(row.shape, dtype=bool)):
            return list(ids)
        return prompt_ids(self._tokenizer, text)
