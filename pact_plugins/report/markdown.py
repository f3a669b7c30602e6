"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, texts: int = 1) -> str:
    """Lines of a table, without a line break at the end; the first ``texts`` columns are text, the others numbers."""
    rule = ["---" if column < texts else "---:" for column in range(len(header))]
    return "\n".join(row(cells) for cells in (header, rule, *rows))


def row(cells: Sequence[str]) -> str:
    """One line; what would end a cell is escaped."""
    return "|" + "|".join(f" {cell(text)} " if text else " " for text in cells) + "|"


def cell(text: str) -> str:
    """Text that stays in its cell."""
    return text.replace("|", "\\|").replace("\n", " ")
