"""What a chat template writes around an assistant's turn, learnt by rendering conversations that are made up.

A template is a program: it may trim what it is given, leave out thoughts of earlier turns, add an empty block of them,
refuse system turns, or have no header at all. And tokens do not end where a template's words end: those of a header may
merge with the first ones of a reply. So conversations that begin and end in different characters are rendered, and what
stands between the same words is compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy

from pact_plugins.conversation.turns import AssistantTurns, Ids
from pact_plugins.modeling.chat import encode, render
from pact_plugins.modeling.vocabulary import encodes_chats_itself

Message = dict[str, Any]

# What replies and requests begin and end with. White space is last: some templates trim it.
_FIRST = ("Yes", "ok", "1", "(", '"', "-", "\u00e9", " so", "\n", "\n\n")
_LAST = (".", "a", "?", "1", ")", '"', "\u00e9", " ", "\n", "\n\n")
# No template holds it.
_WORD = "wuvxq"
_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")
_TOOL_CALL = {"type": "function", "function": {"name": "wuvxqf", "arguments": {"place": "wuvxqg"}}}


@dataclass
class _Found:
    """What the probes have shown so far, in the order in which it was found."""

    headers: dict[Ids, None] = field(default_factory=dict)
    ends: dict[Ids, None] = field(default_factory=dict)
    openings: dict[Ids, None] = field(default_factory=dict)
    trailing: set[int] = field(default_factory=set)
    start: int | None = None

    def turns(self, tokenizer: Any) -> AssistantTurns | None:
        if not self.headers:
            return None
        end = getattr(tokenizer, "eos_token_id", None)
        trailing = frozenset(self.trailing | (set() if end is None else {end}))
        openings = _shortest([opening for opening in self.openings if opening and opening not in self.headers])
        ends = _shortest([end for end in self.ends if end])
        return AssistantTurns(tuple(filter(None, self.headers)), ends, openings, trailing, self.start)


def learn_turns(tokenizer: Any, chat_template: str | None = None) -> AssistantTurns | None:
    """What a chat template writes around an assistant's turn.

    Args:
        chat_template: that rows were rendered by, where it is not the tokenizer's own.

    Returns:
        None where there is no chat template, or none that tells an assistant's turn from another's.
    """
    if encodes_chats_itself(tokenizer):
        return _learn_from_ids(tokenizer)
    template = chat_template or getattr(tokenizer, "chat_template", None)
    if not template:
        return None
    found, renderer = _Found(), _Renderer(tokenizer, template)
    for messages in _probes():
        probe = _Probe.of(renderer, messages)
        if probe is not None:
            probe.learn(found)
    return found.turns(tokenizer)


def _probes() -> Iterator[list[Message]]:
    for first, last in zip(_FIRST, _LAST, strict=True):
        yield [
            {"role": "user", "content": f"{first}{_WORD}a{last}"},
            {"role": "assistant", "content": f"{first}{_WORD}b{last}"},
            {"role": "user", "content": f"{first}{_WORD}c{last}"},
            {"role": "assistant", "content": f"{first}{_WORD}d{last}"},
        ]
    question = {"role": "user", "content": f"{_WORD}a"}
    answer, *others = ({"role": "assistant", "content": f"{first}{_WORD}b"} for first in ("", "1", "("))
    for role in ("system", "developer"):
        yield [{"role": role, "content": f"{_WORD}s"}, question, answer]
    for call in ({"tool_calls": [_TOOL_CALL]}, {"tool_calls": [{**_TOOL_CALL, "id": "wuvxqid00"}]}):
        identity = {"tool_call_id": call["tool_calls"][0]["id"]} if "id" in call["tool_calls"][0] else {}
        asking = {"role": "assistant", "content": "", **call}
        for said in (answer, *others):
            yield [question, asking, {"role": "tool", "content": f"{_WORD}t", **identity}, said]


@dataclass(frozen=True)
class _Renderer:
    """A tokenizer, and the template that it is to render by: one or several of them by name, as transformers has it."""

    tokenizer: Any
    template: Any

    def text(self, messages: Sequence[Mapping[str, Any]]) -> str | None:
        """None where the template refuses the conversation."""
        # A template is somebody's program, and may raise what it likes.
        try:
            return render(self.tokenizer, messages, add_generation_prompt=False, **self._named)
        except Exception:
            return None

    def ids(self, text: str) -> list[int]:
        return encode(self.tokenizer, text)

    def marked(self, messages: Sequence[Message], ids: list[int]) -> list[tuple[int, int]]:
        """Begin and end of what the template's ``{% generation %}`` blocks hold."""
        if not _GENERATION.search(str(self.template)):
            return []
        options = {"tokenize": True, "return_dict": True, "return_assistant_tokens_mask": True}
        try:
            encoded = self.tokenizer.apply_chat_template(messages, **options, **self._named)
        except Exception:
            return []
        mask = encoded.get("assistant_masks") or []
        if list(encoded["input_ids"]) != ids or not any(mask):
            return []
        edges = numpy.diff([0, *mask, 0]).nonzero()[0].tolist()
        return list(zip(edges[::2], edges[1::2], strict=True))

    @property
    def _named(self) -> dict[str, Any]:
        own = getattr(self.tokenizer, "chat_template", None)
        return {} if self.template == own else {"chat_template": self.template}


@dataclass(frozen=True)
class _Probe:
    """A conversation, rendered.

    Attributes:
        text, ids: of the whole.
        places: begin and end of each message in the text; None where its words are not to be found.
        marked: begin and end of each assistant's turn in the ids, where the template marks them.
    """

    renderer: _Renderer
    messages: Sequence[Message]
    text: str
    ids: list[int]
    places: list[tuple[int, int] | None]
    marked: list[tuple[int, int]]

    @classmethod
    def of(cls, renderer: _Renderer, messages: Sequence[Message]) -> _Probe | None:
        """None where the template refuses the conversation."""
        text = renderer.text(messages)
        if text is None:
            return None
        ids = renderer.ids(text)
        return cls(renderer, messages, text, ids, _places(text, messages), renderer.marked(messages, ids))

    def learn(self, found: _Found) -> None:
        """Add what stands before and after each of its messages."""
        first = self.places[0]
        if first is not None:
            ids = self._ids_between(0, first[0])
            start = ids[:1] == (getattr(self.renderer.tokenizer, "bos_token_id", None),)
            found.openings.setdefault(ids[1:] if start else ids)
            found.start = ids[0] if start else found.start
        for number, message in enumerate(self.messages):
            before, own = self.places[number - 1] if number else None, self.places[number]
            if own is None:
                continue
            if message["role"] == "assistant":
                self._learn_turn(number, own, found)
            elif before is not None and self.messages[number - 1]["role"] == "assistant":
                found.openings.setdefault(self._ids_between(before[1] + len(self._closing(before[1])), own[0]))
            elif number and message["role"] == "tool":
                head = self.renderer.text(self.messages[:number])
                if head is not None and self.text.startswith(head):
                    found.openings.setdefault(self._ids_between(len(head), own[0]))

    def _learn_turn(self, number: int, own: tuple[int, int], found: _Found) -> None:
        before = self.places[number - 1] if number else None
        if before is None:
            return
        gap = self.text[before[1] : own[0]]
        header = self._behind_the_request(number, before[1], gap)
        if not header.strip():
            return
        mark = next((span for span in self.marked if span[1] > self._place(own[0])[0]), None)
        begin = self._place(own[0])[0] if mark is None else mark[0]
        found.headers.setdefault(self._ids_between(own[0] - len(header), own[0], until=begin))
        closing = self._closing(own[1])
        if mark is not None:
            found.ends.setdefault(tuple(self.ids[self._first_behind(own[1]) : mark[1]]))
        elif closing.strip():
            found.ends.setdefault(self._ids_between(own[1], own[1] + len(closing.rstrip())))
        rest = self.ids[self._place(own[1] + len(closing.rstrip()))[0] :] if number == len(self.messages) - 1 else []
        found.trailing.update(rest)

    def _behind_the_request(self, number: int, end: int, gap: str) -> str:
        """The part of what stands between a request and the reply ``number`` that opens the reply."""
        alone = self.renderer.text(self.messages[:number])
        closing = alone[end:] if alone is not None and alone[:end] == self.text[:end] else ""
        header = gap[len(closing) :] if gap.startswith(closing) else gap
        # Without a header of its own, a reply is told by what closes the request.
        return header if header.strip() else gap

    def _closing(self, end: int) -> str:
        """What the template writes after an assistant's words, the next turn's opening not included."""
        last = self.places[-1]
        if last is None or self.messages[-1]["role"] != "assistant":
            return ""
        return _common(self.text[end:], self.text[last[1] :])

    def _place(self, character: int) -> tuple[int, bool]:
        """The index of the first token that holds a character at or behind this one, and whether it begins there."""
        head = self.renderer.ids(self.text[:character])
        same = next((n for n, (a, b) in enumerate(zip(head, self.ids, strict=False)) if a != b), None)
        return (min(len(head), len(self.ids)), True) if same is None else (same, False)

    def _first_behind(self, character: int) -> int:
        """The index of the first token that holds nothing before the character."""
        index, exact = self._place(character)
        return index if exact else index + 1

    def _ids_between(self, begin: int, end: int, *, until: int | None = None) -> Ids:
        """The tokens that hold nothing but these characters, or that end before the index ``until``."""
        last = self._place(end)[0] if until is None else until
        return tuple(self.ids[self._first_behind(begin) : last])


def _places(text: str, messages: Sequence[Message]) -> list[tuple[int, int] | None]:
    places: list[tuple[int, int] | None] = []
    reached = 0
    for message in messages:
        said = message["content"]
        words = next((one for one in (said, said.lstrip(), said.rstrip(), said.strip()) if one and one in text), None)
        if words is None:
            places.append(None)
            continue
        begin = text.index(words, reached) if words in text[reached:] else text.index(words)
        places.append((begin, begin + len(words)))
        reached = begin + len(words)
    return places


def _common(one: str, other: str) -> str:
    length = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return one[:length]


def _shortest(sequences: Sequence[Ids]) -> tuple[Ids, ...]:
    """Those that do not end with another of them: where one closes, the other does."""
    return tuple(
        one
        for one in dict.fromkeys(sequences)
        if not any(len(other) < len(one) and one[-len(other) :] == other for other in sequences)
    )


def _learn_from_ids(tokenizer: Any) -> AssistantTurns | None:
    """Of tokenizers whose control tokens have no text (mistral-common)."""
    words = encode(tokenizer, "Hello")
    try:
        ids = list(
            tokenizer.apply_chat_template(
                [{"role": "user", "content": "Hello"}], tokenize=True, add_generation_prompt=True, return_dict=True
            )["input_ids"]
        )
    except Exception:
        return None
    at = next((place for place in range(len(ids)) if ids[place : place + len(words)] == words), None)
    end = getattr(tokenizer, "eos_token_id", None)
    if at is None or end is None or not ids[at + len(words) :]:
        return None
    opening = tuple(ids[:at])
    start = getattr(tokenizer, "bos_token_id", None)
    opening = opening[1:] if opening[:1] == (start,) else opening
    return AssistantTurns((tuple(ids[at + len(words) :]),), ((end,),), (opening,) if opening else (), frozenset((end,)))
