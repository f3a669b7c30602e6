"""Text from models, data and files, made harmless to look at: nothing in it moves a cursor or hides.

Control characters (escape sequences begin with one), direction overrides, zero-width and other format characters, and
halves of surrogate pairs become what Python would write for them: ``\\x1b``, ``\\u202e``. Whoever reads sees them, and
whoever shows the text (terminal, page, editor) does not obey them. What is written as data (JSON, JSONL, Parquet) stays
as it was.
"""

from __future__ import annotations

import reprlib
import unicodedata
from typing import Any

_OBEYED = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_KEPT = "\n\t"


def visible(text: str) -> str:
    """``text`` with everything that a reader would not see, or a terminal obey, written out."""
    if text.isprintable():
        return text
    return "".join(map(_shown, text))


def _shown(character: str) -> str:
    if character in _KEPT or unicodedata.category(character) not in _OBEYED:
        return character
    return ascii(character)[1:-1]


def shortly(value: Any) -> str:
    """``repr(value)`` for a message: on one line, of bounded length, however large or deep the value is."""
    try:
        return _SHORT.repr(value)
    except Exception:  # a value's own repr may fail, and a number may have too many digits to be written
        return f"a {type(value).__name__} that cannot be shown"


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 200
_SHORT.maxlist = _SHORT.maxdict = _SHORT.maxtuple = _SHORT.maxset = 10
