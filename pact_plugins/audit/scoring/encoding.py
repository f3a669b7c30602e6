"""Turns as token ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy

from pact_plugins.conversation import AssistantTurns, learn_turns
from pact_plugins.conversation.reading import Conversation, Turn, UnreadableRowError
from pact_plugins.errors import ConfigurationError
from pact_plugins.modeling import turn_ids
from pact_plugins.modeling.chat import render
from pact_plugins.modeling.vocabulary import added_token_ids, encodes_chats_itself

# Assistant turns of a conversation that are rendered one by one.
_FEW = 8


@dataclass(frozen=True)
class EncodedTurn:
    """A context, and the first token of the response in the data (None where that is empty)."""

    context_ids: list[int]
    first_response_id: int | None


class TurnEncoder:
    """Encodes turns as the model would be asked: through its chat template, up to where it begins to answer.

    Args:
        maximum_length: tokens of a context that the model has positions for; None where it does not say.
        template_arguments: for the chat template, such as ``{"enable_thinking": False}``.

    Raises:
        ConfigurationError: the tokenizer has no chat template.
    """

    def __init__(
        self, tokenizer: Any, *, maximum_length: int | None = None, template_arguments: Mapping[str, Any] | None = None
    ) -> None:
        if not getattr(tokenizer, "chat_template", None) and not encodes_chats_itself(tokenizer):
            raise ConfigurationError(
                f"the tokenizer {getattr(tokenizer, 'name_or_path', '')!r} has no chat template; the audit asks an "
                "aligned chat model, so set the tokenizer's chat_template"
            )
        self._tokenizer = tokenizer
        self._maximum_length = maximum_length
        self._arguments = dict(template_arguments or {})
        added, vocabulary = added_token_ids(tokenizer), tokenizer.get_vocab()
        self._marks = [token for token in tokenizer.all_special_tokens if vocabulary.get(token) in added]

    def prompt(self, text: str) -> list[int]:
        """The context of a one-turn prompt."""
        ids, _ = turn_ids(self._tokenizer, [{"role": "user", "content": text}], _EMPTY, **self._arguments)
        return ids

    def turns(self, conversation: Conversation) -> list[EncodedTurn]:
        """One per turn.

        Raises:
            UnreadableRowError: the chat template refuses the conversation, or a context is too long for the model.
        """
        arguments = {**self._arguments, **conversation.template_arguments}
        at_once = self._at_once(conversation, arguments) if len(conversation.turns) > _FEW else None
        return at_once or [self._turn(turn, arguments) for turn in conversation.turns]

    def _at_once(self, conversation: Conversation, arguments: dict[str, Any]) -> list[EncodedTurn] | None:
        """All turns of a long conversation, rendered once; None where a template may rewrite what came before.

        The first and the last context alone tell whether it does, but for thoughts and tool calls, which templates
        leave out in the middle too.
        """
        messages = conversation.messages
        if self._marks_of_turns is None or any(
            one.keys() - {"role", "content"} or "</" in one["content"] for one in messages
        ):
            return None
        first, last = (self._turn(turn, arguments) for turn in (conversation.turns[0], conversation.turns[-1]))
        ids = self._plain(render(self._tokenizer, messages, add_generation_prompt=False, **arguments))
        found = self._marks_of_turns.find(numpy.array([ids]), numpy.zeros((1, len(ids)), dtype=bool))
        assistant = [number for number, message in enumerate(messages) if message["role"] == "assistant"]
        if len(found) != len(assistant):
            return None
        asked = {len(turn.context) for turn in conversation.turns}
        wanted = [turn for turn, number in zip(found, assistant, strict=True) if number in asked]
        header = first.context_ids[wanted[0].header :]
        encoded = [
            EncodedTurn(ids[: turn.header] + header, ids[turn.begin] if turn.begin < turn.end else None)
            for turn in wanted
        ]
        ends = (encoded[0].context_ids, encoded[-1].context_ids)
        return encoded if ends == (first.context_ids, last.context_ids) else None

    @cached_property
    def _marks_of_turns(self) -> AssistantTurns | None:
        return None if encodes_chats_itself(self._tokenizer) else learn_turns(self._tokenizer)

    def _turn(self, turn: Turn, arguments: dict[str, Any]) -> EncodedTurn:
        if turn.is_plain and self._is_rendered(turn.prompt):
            context_ids = self._plain(turn.prompt)
            beginning = self._plain(str(turn.response["content"])[:200])
        else:
            try:
                context_ids, beginning = turn_ids(self._tokenizer, turn.context, turn.response, **arguments)
            # A template is somebody's program, and may raise what it likes.
            except Exception as error:
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
                raise UnreadableRowError(f"the chat template refuses turn {turn.number}: {reason}") from None
        if self._maximum_length is not None and len(context_ids) > self._maximum_length:
            raise UnreadableRowError(
                f"the context of turn {turn.number} has {len(context_ids)} tokens, more than the model's "
                f"{self._maximum_length} positions"
            )
        return EncodedTurn(context_ids, beginning[0] if beginning else None)

    def _is_rendered(self, prompt: str) -> bool:
        """Whether a template has been at this text already: it holds special tokens."""
        return any(mark in prompt for mark in self._marks)

    def _plain(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])


_EMPTY = {"role": "assistant", "content": ""}
