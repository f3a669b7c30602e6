"""What is generated inside a page that is otherwise written by hand stands between two marks."""

from __future__ import annotations

from pathlib import Path

BEGIN, END = "<!-- made by make pages -->", "<!-- end -->"


def with_generated(page: Path, text: str) -> str:
    """The page with ``text`` between its marks."""
    before, rest = page.read_text(encoding="utf-8").split(BEGIN)
    return f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}"
