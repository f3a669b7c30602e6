"""How the keyword judge writes its patterns down: one phrase per line, joined into one expression."""

from __future__ import annotations

import re


def any_of(*phrases: str) -> re.Pattern[str]:
    """One expression that matches where any of the phrases does."""
    return re.compile("|".join(f"(?:{phrase})" for phrase in phrases))


def words(text: str) -> str:
    """The alternation of whitespace-separated words; `_` inside a word stands for a space."""
    return "(?:" + "|".join(word.replace("_", " ") for word in text.split()) + ")"
