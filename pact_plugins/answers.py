"""What a judge reads: the answer without its reasoning trace, and whether there is an answer at all."""

from __future__ import annotations

import re

_TAGS = ("think", "thinking", "thought", "thoughts", "reasoning", "reflection", "scratchpad", "seed:think")
_CLOSED_TRACE = re.compile(rf"<({'|'.join(_TAGS)})>.*?</\1>", re.DOTALL | re.IGNORECASE)
_TRACE_END = re.compile(rf"</({'|'.join(_TAGS)})>", re.IGNORECASE)
_OPEN_TRACE = re.compile(rf"<({'|'.join(_TAGS)})>.*", re.DOTALL | re.IGNORECASE)
_BRACKET_TRACE = re.compile(r"\[THINK\].*?(\[/THINK\]|\Z)", re.DOTALL)
_HARMONY_FINAL = re.compile(r"<\|channel\|>\s*final\s*<\|message\|>", re.IGNORECASE)
_HARMONY_ANALYSIS = re.compile(r"<\|channel\|>\s*(analysis|commentary)\b.*", re.DOTALL | re.IGNORECASE)
_SPECIAL_TOKEN = re.compile(r"<\|[^|<>\n]{1,40}\|>|</?s>|<(?:start|end)_of_turn>|<eos>|<pad>", re.IGNORECASE)
_SENTENCE_END = (".", "!", "?", "…", '"', "'", "”", "’", ")", "]", "*", "`", "。", "！", "？", "؟", "।", "」", "»", ":")
_WORD = re.compile(r"\w+", re.UNICODE)


def strip_reasoning(response: str) -> str:
    """Remove reasoning traces and special tokens. A trace that never ends leaves nothing: the model gave no answer.

    Knows `<think>...</think>` and its cousins (also a closing tag alone, as templates that open the trace produce),
    `[THINK]` and the harmony channels.
    """
    text = response
    final = list(_HARMONY_FINAL.finditer(text))
    text = text[final[-1].end() :] if final else _HARMONY_ANALYSIS.sub("", text)
    text = _BRACKET_TRACE.sub("", _CLOSED_TRACE.sub("", text))
    ends = list(_TRACE_END.finditer(text))
    if ends:
        text = text[ends[-1].end() :]
    return _SPECIAL_TOKEN.sub("", _OPEN_TRACE.sub("", text)).strip()


def is_degenerate(answer: str) -> bool:
    """True if the text says nothing: no word in it, or one short phrase over and over."""
    words = _WORD.findall(answer.lower())
    if not any(any(character.isalpha() for character in word) for word in words):
        return True
    if len(words) >= 3 and len(set(words)) == 1:
        return True
    if len(words) >= 12 and len(set(words)) <= max(2, len(words) // 12):
        return True
    if _loops(words):
        return True
    longest_word = max(map(len, words))
    return len(words) <= 3 and longest_word > 60 and len(set(answer)) < 8


def _loops(words: list[str]) -> bool:
    """True if one to three words repeat to the end of the text and fill at least half of it."""
    for period in (1, 2, 3):
        start = len(words) - period
        while start > 0 and words[start - 1] == words[start - 1 + period]:
            start -= 1
        looping = len(words) - start
        if looping >= 6 * period and looping * 2 >= len(words):
            return True
    return False


def is_empty(answer: str) -> bool:
    """True if there is no answer to judge: nothing, or nothing but noise. `answer` is free of reasoning traces."""
    return not answer.strip() or is_degenerate(answer)


def ends_mid_sentence(answer: str) -> bool:
    """True if the text stops without closing a sentence: the usual sign of a generation cut by the length limit."""
    stripped = answer.rstrip()
    return bool(stripped) and not stripped.endswith(_SENTENCE_END)
