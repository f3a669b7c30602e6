"""Plain-text helpers of the keyword judge: normal form, sentences, list items."""

from __future__ import annotations

import re

_QUOTES = str.maketrans(
    {"’": "'", "‘": "'", "ʼ": "'", "´": "'", "“": '"', "”": '"', "„": '"', "\u00a0": " ", "\u202f": " "}
)
_MARKUP = re.compile(r"(\*\*|__|`|^#+\s*|^>\s*|~~)", re.MULTILINE)
_SENTENCE_BREAK = re.compile(r"(?<=[.!?…。！？؟।])[\"')]*\s+|(?<=[。！？])|\n+")
_LIST_ITEM = re.compile(r"^\s*(?:\d{1,2}[.):]|[-*•–]|step \d+|[a-h][.)])\s+\S", re.MULTILINE | re.IGNORECASE)


def normalise(text: str) -> str:
    """Lower case, straight quotes, no markdown emphasis; line breaks stay."""
    return _MARKUP.sub("", text.translate(_QUOTES)).lower().strip()


def sentences(normal: str) -> list[str]:
    """The sentences of a normalised text, in order, without empty ones."""
    return [part.strip(" \"'*-") for part in _SENTENCE_BREAK.split(normal) if part and part.strip(" \"'*-")]


def list_items(text: str) -> int:
    """How many numbered or bulleted lines the text has."""
    return len(_LIST_ITEM.findall(text))
