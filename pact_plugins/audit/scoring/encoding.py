"""Turns as token ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jinja2.exceptions import TemplateError

from pact_plugins.audit.reading import Conversation, Turn, UnreadableRowError
from pact_plugins.errors import ConfigurationError
from pact_plugins.modeling import turn_ids
from pact_plugins.modeling.vocabulary import added_token_ids, encodes_chats_itself


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
        return [self._turn(turn, {**self._arguments, **conversation.template_arguments}) for turn in conversation.turns]

    def _turn(self, turn: Turn, arguments: dict[str, Any]) -> EncodedTurn:
        if turn.is_plain and self._is_rendered(turn.prompt):
            context_ids = self._plain(turn.prompt)
            beginning = self._plain(str(turn.response["content"])[:200])
        else:
            try:
                context_ids, beginning = turn_ids(self._tokenizer, turn.context, turn.response, **arguments)
            except (TemplateError, TypeError, ValueError) as error:
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
