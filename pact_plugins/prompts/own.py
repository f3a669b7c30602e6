"""Prompts of the user's own, of any kind: one file of rows serves the anchor, the drift watch and the evaluation.

Some kinds are of refusals: ``harmful`` requests, and ``harmless`` ones, which may be told apart as ``lookalike`` and
``plain``. Every other name is a behaviour of the model that has nothing to do with them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pact_plugins.errors import ConfigurationError
from pact_plugins.files import read_rows

HARMFUL = "harmful"
HARMLESS = ("harmless", "lookalike", "plain")
_KIND = re.compile(r"[a-z][a-z0-9_]{0,39}")
_ROLES = ("system", "developer", "user", "assistant", "tool")


@dataclass(frozen=True)
class Prompt:
    """What a reply is asked for to.

    Attributes:
        messages: of a conversation, up to where the reply begins.
        kind: see above.
        expect: a regular expression that is found in a reply that is as it should be; None where none is given.
        tools: definitions for the chat template, or None.
    """

    messages: tuple[Mapping[str, Any], ...]
    kind: str
    expect: str | None = None
    tools: Any = None

    @classmethod
    def of(cls, text: str, kind: str) -> Prompt:
        """Of one user message."""
        return cls(({"role": "user", "content": text},), kind)

    @property
    def text(self) -> str:
        """The last user message."""
        return next(str(one["content"]) for one in reversed(self.messages) if one["role"] == "user")

    @property
    def template_arguments(self) -> dict[str, Any]:
        """What goes to the chat template beside the messages."""
        return {} if self.tools is None else {"tools": self.tools}

    def is_met(self, reply: str) -> bool:
        """Whether a reply, as text, is as ``expect`` says."""
        return self.expect is None or re.search(self.expect, reply, re.DOTALL | re.MULTILINE) is not None


def is_behavior(kind: str) -> bool:
    """Whether a kind has nothing to do with refusals."""
    return kind not in (HARMFUL, *HARMLESS)


def own_prompts(path: str, *, key: str) -> dict[str, list[Prompt]]:
    """Kind to prompts, from a JSON or JSONL file of rows.

    A row has a text ``prompt`` or a list of ``messages``, a ``kind``, and may have ``expect`` and ``tools``.

    Args:
        key: the setting that names the file, for messages.

    Raises:
        ConfigurationError: a row is none; the message names its number and what is the matter.
    """
    found: dict[str, list[Prompt]] = {}
    for number, row in enumerate(read_rows(path, key=key), start=1):
        try:
            prompt = _prompt(row)
        except ValueError as error:
            raise ConfigurationError(f"{key}: row {number} of {path} {error}") from None
        found.setdefault(prompt.kind, []).append(prompt)
    for kind, prompts in found.items():
        if len({prompt.expect is None for prompt in prompts}) > 1:
            raise ConfigurationError(f"{key}: {path}: give every prompt of the kind {kind!r} an 'expect', or none")
    return found


def check_balance(found: Collection[str], *, path: str, key: str, both: bool) -> None:
    """Refuse a file with prompts of refusals that would do harm by what it lacks.

    Args:
        found: the kinds in it.
        both: harmful prompts alone are not enough.

    Raises:
        ConfigurationError: one side is missing. A file without either is good: bundled prompts stand in.
    """
    for missing, kinds, consequence in (
        ("harmful", (HARMFUL,), "what is held or seen of help alone says nothing of lost refusals"),
        ("harmless", HARMLESS if both else (), "held to refusals alone, a model learns to refuse harmless requests"),
    ):
        if kinds and not set(kinds) & set(found) and not all(map(is_behavior, found)):
            raise ConfigurationError(f"{key}: {path} has no {missing} prompt: {consequence}; add some")


def _prompt(row: Any) -> Prompt:
    if not isinstance(row, dict):
        raise ValueError("is no object with 'prompt' (or 'messages') and 'kind'")
    kind, expect = row.get("kind"), row.get("expect")
    if not isinstance(kind, str) or not _KIND.fullmatch(kind):
        raise ValueError(
            f"needs a 'kind': {HARMFUL}, {', '.join(HARMLESS)}, or a name of your own in small letters, digits and _ "
            f"(found {kind!r})"
        )
    if expect is not None:
        _check_expression(expect)
    return Prompt(_messages(row), kind, expect, row.get("tools"))


def _messages(row: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    given = row.get("messages")
    if given is None:
        given = [{"role": "user", "content": row.get("prompt")}]
    if not isinstance(given, list) or not all(isinstance(one, dict) and one.get("role") in _ROLES for one in given):
        raise ValueError(f"needs 'messages' as a list of objects with 'role' ({', '.join(_ROLES)}) and 'content'")
    asked = [one for one in given if one["role"] == "user"]
    if not asked or not all(isinstance(one.get("content"), str) and one["content"].strip() for one in asked):
        raise ValueError("needs a text 'prompt', or 'messages' with a user message that is text")
    if given[-1]["role"] == "assistant":
        raise ValueError("ends with an assistant message: leave that out, it is what the model is asked for")
    return tuple(given)


def _check_expression(expect: Any) -> None:
    try:
        re.compile(expect)
    except (TypeError, re.error) as error:
        raise ValueError(f"has an 'expect' that is no regular expression ({error})") from None


__all__ = ["HARMFUL", "HARMLESS", "Prompt", "check_balance", "is_behavior", "own_prompts"]
