"""Tables in Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from pact_plugins.visible import visible

_ACTIVE = re.compile(r"[\\`*\[\]!]")


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, texts: int = 1) -> str:
    """Lines of a table, without a line break at the end; the first ``texts`` columns are text, the others numbers."""
    rule = ["---" if column < texts else "---:" for column in range(len(header))]
    return "\n".join(row(cells) for cells in (header, rule, *rows))


def row(cells: Sequence[str]) -> str:
    """One line; what would end a cell is escaped."""
    return "|" + "|".join(f" {cell(text)} " if text else " " for text in cells) + "|"


def cell(text: str) -> str:
    """Text of ours that stays in its cell."""
    return visible(text).replace("|", "\\|").replace("\n", " ")


def plain(text: str) -> str:
    """Text from models, data or files: no markup, no HTML, no line of its own."""
    return _ACTIVE.sub(r"\\\g<0>", visible(text).replace("\n", " ")).replace("<", "&lt;").replace(">", "&gt;")
