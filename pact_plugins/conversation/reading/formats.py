"""The row formats of the fine-tuning frameworks: chat, prompt/completion, alpaca, sharegpt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pact_plugins.conversation.reading.conversations import (
    BrokenRow,
    Conversation,
    Message,
    UnreadableRowError,
    conversation,
)
from pact_plugins.files import parse_json

FORMATS = "`messages`, `conversations`, `instruction` with `output`, or `prompt` with `completion`"
_ROLES = {
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "function_call": "assistant",
    "system": "system",
    "developer": "developer",
    "tool": "tool",
    "observation": "tool",
}
# What chat templates read besides role and content.
_FURTHER_KEYS = ("tool_calls", "tool_call_id", "name", "reasoning_content", "thinking")


def read_conversation(row: Any) -> Conversation:
    """Recognise a row's format by its columns and split it into turns.

    A column whose value is None counts as absent: Parquet and ``datasets`` fill rows up with it.

    Raises:
        UnreadableRowError: the columns fit no format, or a value is not what the format says.
    """
    if isinstance(row, BrokenRow):
        raise UnreadableRowError(row.reason)
    if not isinstance(row, Mapping):
        raise UnreadableRowError(f"a {type(row).__name__}, not an object with columns")
    values = {key: value for key, value in row.items() if value is not None}
    if "messages" in values:
        return _chat("chat", values, "messages")
    if "conversations" in values:
        return _chat("sharegpt", values, "conversations")
    if "instruction" in values:
        return _alpaca(values)
    if "prompt" in values and ("completion" in values or "response" in values):
        return _prompt_completion(values)
    raise UnreadableRowError(f"its columns ({', '.join(map(str, values)) or 'none'}) fit no format: {FORMATS}")


def _chat(name: str, row: dict[str, Any], column: str) -> Conversation:
    messages = _messages(row[column], column)
    system = _text(row, "system", "")
    if system:
        messages.insert(0, {"role": "system", "content": system})
    return conversation(name, messages, tools=_tools(row))


def _alpaca(row: dict[str, Any]) -> Conversation:
    if "output" not in row:
        raise UnreadableRowError("no assistant turn: the column `output` is absent")
    messages: list[Message] = []
    system = _text(row, "system", "")
    if system:
        messages.append({"role": "system", "content": system})
    history = row.get("history", [])
    if not isinstance(history, (list, tuple)):
        raise UnreadableRowError(f"`history` is a {type(history).__name__}, not a list of pairs of texts")
    for place, pair in enumerate(history):
        if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
            raise UnreadableRowError(f"history entry {place} is not a pair of texts")
        messages += [{"role": "user", "content": pair[0]}, {"role": "assistant", "content": pair[1]}]
    parts = [text for text in (_text(row, "instruction"), _text(row, "input", "")) if text]
    messages += [
        {"role": "user", "content": "\n".join(parts)},
        {"role": "assistant", "content": _text(row, "output")},
    ]
    return conversation("alpaca", messages)


def _prompt_completion(row: dict[str, Any]) -> Conversation:
    column = "completion" if "completion" in row else "response"
    prompt, completion = row["prompt"], row[column]
    if isinstance(prompt, str) and isinstance(completion, str):
        messages: list[Message] = [{"role": "user", "content": prompt}, {"role": "assistant", "content": completion}]
        return conversation("prompt/completion", messages, first_response=1, is_plain=True)
    if isinstance(prompt, str) or isinstance(completion, str):
        raise UnreadableRowError(f"`prompt` and `{column}` must both be text or both be lists of messages")
    context = _messages(prompt, "prompt")
    return conversation(
        "prompt/completion",
        context + _messages(completion, column),
        first_response=len(context),
        tools=_tools(row),
    )


def _messages(value: Any, column: str) -> list[Message]:
    if not isinstance(value, (list, tuple)):
        raise UnreadableRowError(f"`{column}` is a {type(value).__name__}, not a list of messages")
    return [_message(item, f"{column}[{place}]") for place, item in enumerate(value)]


def _message(value: Any, place: str) -> Message:
    if not isinstance(value, Mapping):
        raise UnreadableRowError(f"{place} is a {type(value).__name__}, not a message")
    role = value.get("role", value.get("from"))
    if not isinstance(role, str) or role not in _ROLES:
        raise UnreadableRowError(f"{place} has the role {role!r}; known: {', '.join(_ROLES)}")
    content = value.get("content")
    if content is None:
        content = value.get("value")
    further = {key: value[key] for key in _FURTHER_KEYS if value.get(key) is not None}
    if content is None and "tool_calls" in further:
        content = ""
    return {"role": _ROLES[role], "content": _content(content, place), **further}


def _content(value: Any, place: str) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, (list, tuple)):
        raise UnreadableRowError(f"{place} has no text")
    texts = []
    for part in value:
        if not isinstance(part, Mapping) or not isinstance(part.get("text"), str):
            kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
            raise UnreadableRowError(f"{place} holds a part of type {kind!r}; only text can be scored")
        texts.append(part["text"])
    return "".join(texts)


def _text(row: dict[str, Any], column: str, default: str | None = None) -> str:
    value = row.get(column, default)
    if not isinstance(value, str):
        raise UnreadableRowError(f"`{column}` is a {type(value).__name__}, not text")
    return value


def _tools(row: dict[str, Any]) -> Any:
    tools = row.get("tools")
    if isinstance(tools, str):
        try:
            tools = parse_json(tools) if tools.strip() else None
        except ValueError:
            raise UnreadableRowError("`tools` is text, but not JSON") from None
    if tools is not None and not isinstance(tools, list):
        raise UnreadableRowError(f"`tools` is a {type(tools).__name__}, not a list")
    return tools or None
