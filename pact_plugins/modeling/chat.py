"""Chat templates as token ids: a prompt, a response, the header that opens an assistant turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pact_plugins.errors import ConfigurationError
from pact_plugins.modeling.vocabulary import encodes_chats_itself

_PROBE = "Hello"
# Characters of a response that surely hold its first token.
_BEGINNING = 200


def render(
    tokenizer: Any, messages: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool, **arguments: Any
) -> str:
    """What the tokenizer's chat template makes of messages, as text.

    Raises:
        ConfigurationError: there is none.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise ConfigurationError(
            f"the tokenizer {getattr(tokenizer, 'name_or_path', '')!r} has no chat template; PACT needs an aligned "
            "chat model, or a tokenizer whose chat_template is set"
        )
    return tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=add_generation_prompt, **arguments
    )


def encode(tokenizer: Any, text: str) -> list[int]:
    """The token ids of rendered text."""
    # The template has written the special tokens already.
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _user(prompt: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}]


def prompt_ids(tokenizer: Any, prompt: str) -> list[int]:
    """The token ids after which the model writes its response to a one-turn prompt.

    Raises:
        ConfigurationError: the tokenizer has no chat template.
    """
    return question_ids(tokenizer, _user(prompt))


def question_ids(tokenizer: Any, messages: Sequence[Mapping[str, Any]], **arguments: Any) -> list[int]:
    """The token ids after which the model writes its response to a conversation.

    Args:
        arguments: for the chat template, such as ``tools``.

    Raises:
        ConfigurationError: the tokenizer has no chat template.
    """
    if encodes_chats_itself(tokenizer):
        encoded = tokenizer.apply_chat_template(
            messages, tokenize=True, add_generation_prompt=True, return_dict=True, **arguments
        )
        return list(encoded["input_ids"])
    return encode(tokenizer, render(tokenizer, messages, add_generation_prompt=True, **arguments))


def turn_ids(
    tokenizer: Any, context: Sequence[Mapping[str, Any]], response: Mapping[str, Any], **arguments: Any
) -> tuple[list[int], list[int]]:
    """One assistant turn of a conversation: the token ids after which it is written, and those it begins with.

    Args:
        context: the messages before the turn.
        response: the assistant's message; only its first 200 characters are encoded.
        arguments: of the chat template, such as ``tools``.

    Raises:
        ConfigurationError: the tokenizer has no chat template.
    """
    if encodes_chats_itself(tokenizer):
        beginning = str(response.get("content") or "")[:_BEGINNING]
        return question_ids(tokenizer, context, **arguments), encode(tokenizer, beginning)
    opening = render(tokenizer, context, add_generation_prompt=True, **arguments)
    conversation = render(tokenizer, [*context, response], add_generation_prompt=False, **arguments)
    # Where a template rewrites earlier turns, the bare text is what is left.
    rest = conversation[len(opening) :] if conversation.startswith(opening) else str(response.get("content") or "")
    return encode(tokenizer, opening), encode(tokenizer, rest[:_BEGINNING])


def response_ids(tokenizer: Any, prompt: str, response: str) -> list[int]:
    """The token ids of an assistant turn, its closing tokens included, as a trainer would label them."""
    if not encodes_chats_itself(tokenizer):
        opening = render(tokenizer, _user(prompt), add_generation_prompt=True)
        messages = [*_user(prompt), {"role": "assistant", "content": response}]
        conversation = render(tokenizer, messages, add_generation_prompt=False)
        if conversation.startswith(opening):
            return encode(tokenizer, conversation[len(opening) :])
    # Some templates rewrite earlier turns (reasoning models); the bare text and the end token are then what is left.
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    return encode(tokenizer, response) + end


def assistant_header_ids(tokenizer: Any, header: str | None = None) -> list[int]:
    """The token ids that open an assistant turn in a context without any prompt.

    The beginning-of-sequence token comes first where the template starts with one: models that were trained with it
    behave erratically without it.

    Args:
        header: its text, where the chat template cannot tell (``reference.assistant_header``).

    Raises:
        ConfigurationError: no header is given and the chat template has no generation prompt.
    """
    if encodes_chats_itself(tokenizer):
        return _header_behind_the_prompt(tokenizer, header)
    with_header = render(tokenizer, _user(_PROBE), add_generation_prompt=True)
    if header is None:
        without = render(tokenizer, _user(_PROBE), add_generation_prompt=False)
        header = with_header[len(without) :] if with_header.startswith(without) else ""
        if not header:
            raise ConfigurationError(
                "the chat template has no generation prompt, so the text that opens an assistant turn is unknown; "
                "set reference.assistant_header to it"
            )
    begin: int | None = getattr(tokenizer, "bos_token_id", None)
    encoded = encode(tokenizer, header)
    if begin is not None and encode(tokenizer, with_header)[:1] == [begin]:
        encoded.insert(0, begin)
    return encoded


def _header_behind_the_prompt(tokenizer: Any, header: str | None) -> list[int]:
    """What such a tokenizer writes behind the user's words ([/INST]); text could not name it."""
    if header is not None:
        raise ConfigurationError(
            f"reference.assistant_header: {header!r} would be encoded as plain text by {type(tokenizer).__name__}, "
            "whose control tokens have no text; leave the key out"
        )
    ids, words = question_ids(tokenizer, _user(_PROBE)), encode(tokenizer, _PROBE)
    ends = [at + len(words) for at in range(len(ids)) if ids[at : at + len(words)] == words]
    begin = [tokenizer.bos_token_id] if ids[:1] == [tokenizer.bos_token_id] else []
    return begin + (ids[ends[-1] :] if ends else [])
