"""What the tests of this folder read: every page that people read, and the code in it."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md"), *ROOT.glob("benchmarks/*.md")])
WRITTEN = [page for page in PAGES if page.name != "CHANGELOG.md"]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?:(?<=\n\n)|\A)((?: {4}.*\n)(?:(?: {4}.*)?\n)*)")


@dataclass(frozen=True)
class Block:
    """A block of code: ``language`` is empty for an indented one."""

    page: str
    language: str
    text: str


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks() -> list[Block]:
    """Every block of the hand-written pages, fenced or indented."""
    found = []
    for page in WRITTEN:
        name, text = page.relative_to(ROOT).as_posix(), read(page)
        found += [Block(name, language, code) for language, code in _FENCE.findall(text)]
        rest = _FENCE.sub("", text)
        found += [Block(name, "", textwrap.dedent(code)) for code in _INDENTED.findall(rest)]
    return found


def prose(page: Path) -> str:
    """The page without its blocks of code."""
    return _INDENTED.sub("", _FENCE.sub("", read(page)))
