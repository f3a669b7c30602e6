"""What a row of training data becomes: its assistant turns, each with its own context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Message = dict[str, Any]


class UnreadableRowError(Exception):
    """A row is no conversation that can be scored; the message is the reason."""


@dataclass(frozen=True)
class BrokenRow:
    """What stands in for a row that could not even be decoded."""

    reason: str


@dataclass(frozen=True)
class Turn:
    """One response to learn.

    Attributes:
        number: counted from 1 among the row's assistant turns.
        context: the messages before it; the last user message among them is not empty.
        response: the assistant's message.
        is_plain: prompt and response are plain text, which may be rendered already.
    """

    number: int
    context: tuple[Message, ...]
    response: Message
    is_plain: bool = False

    @property
    def prompt(self) -> str:
        """The text of the last user message."""
        return next(str(message["content"]) for message in reversed(self.context) if message["role"] == "user")


@dataclass(frozen=True)
class Conversation:
    """A row, understood.

    Attributes:
        format: ``chat``, ``prompt/completion``, ``alpaca`` or ``sharegpt``.
        messages: all of them.
        first_response: how many of them are the prompt of a prompt/completion row; 0 in the other formats.
        turns: at least one.
        unprompted: assistant turns before any user turn; they answer nobody and are not scored.
        template_arguments: what the row itself hands to the chat template (``tools``).
    """

    format: str
    messages: tuple[Message, ...]
    first_response: int
    turns: tuple[Turn, ...]
    unprompted: int = 0
    template_arguments: dict[str, Any] = field(default_factory=dict)


def conversation(
    name: str,
    messages: Sequence[Message],
    *,
    first_response: int = 0,
    tools: Any = None,
    is_plain: bool = False,
) -> Conversation:
    """Split messages into turns.

    Args:
        first_response: assistant messages before this position are context only.

    Raises:
        UnreadableRowError: no assistant turn answers a user, or one answers an empty prompt.
    """
    places = [
        place for place, message in enumerate(messages) if message["role"] == "assistant" and place >= first_response
    ]
    if not places:
        raise UnreadableRowError("no assistant turn")
    turns = []
    for number, place in enumerate(places, start=1):
        if not any(message["role"] == "user" for message in messages[:place]):
            continue
        turn = Turn(number, tuple(messages[:place]), messages[place], is_plain)
        if not turn.prompt.strip():
            raise UnreadableRowError("empty prompt" if len(places) == 1 else f"empty prompt before turn {number}")
        turns.append(turn)
    if not turns:
        raise UnreadableRowError("no assistant turn after a user turn")
    arguments = {} if tools is None else {"tools": tools}
    return Conversation(name, tuple(messages), first_response, tuple(turns), len(places) - len(turns), arguments)
