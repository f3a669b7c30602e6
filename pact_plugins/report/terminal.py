"""Tables in the terminal: one style, and nothing that names a row is ever shortened."""

from __future__ import annotations

import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from itertools import zip_longest

from pact_plugins.visible import visible

_PROSE_WIDTH = 24  # characters that a column of sentences keeps, however narrow the terminal is
_GAP = 2


def print_table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    numbers: Collection[str] = (),
    prose: Collection[str] = (),
    title: str = "",
) -> None:
    """Print a table to standard output.

    In a terminal, columns of sentences are folded to fit; all others keep every character, and where these alone are
    wider, the lines are longer than the terminal. In a pipe or a file every row is one line.

    Args:
        header: a line break in a heading is one.
        rows: text, shown as it is.
        numbers: headings of the columns that are aligned to the right.
        prose: headings of the columns that may be folded.
        title: a line above.
    """
    cells = [[visible(str(cell)).split("\n") for cell in row] for row in (header, *rows)]
    widths = [max(_width(line) for row in cells for line in row[place]) for place in range(len(header))]
    folded = [place for place, heading in enumerate(header) if heading in prose]
    if sys.stdout.isatty():
        _fit(widths, folded, shutil.get_terminal_size().columns - _GAP * (len(header) - 1))
    right = [heading in numbers for heading in header]
    first, *others = (_lines(row, widths, folded, right) for row in cells)
    rule = "─" * (sum(widths) + _GAP * (len(header) - 1))
    lines = [*([title] if title else ()), *first, rule, *(line for row in others for line in row)]
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def _fit(widths: list[int], folded: Sequence[int], room: int) -> None:
    """Make columns of sentences narrower, the widest first, until all fit or none may give more."""
    for _ in range(sum(widths) - room):
        widest = max(folded, key=lambda place: widths[place], default=None)
        if widest is None or widths[widest] <= _PROSE_WIDTH:
            return
        widths[widest] -= 1


def _lines(
    row: Sequence[Sequence[str]], widths: Sequence[int], folded: Collection[int], right: Sequence[bool]
) -> list[str]:
    """One row of the table: as many lines as its highest cell."""
    cells = [
        [part for line in cell for part in _parts(line, widths[place])] if place in folded else cell
        for place, cell in enumerate(row)
    ]
    lines = []
    for parts in zip_longest(*cells, fillvalue=""):
        padded = []
        for part, width, to_the_right in zip(parts, widths, right, strict=True):
            space = " " * (width - _width(part))
            padded.append(space + part if to_the_right else part + space)
        lines.append((" " * _GAP).join(padded).rstrip())
    return lines


def _parts(line: str, width: int) -> list[str]:
    return [line] if _width(line) <= width else textwrap.wrap(line, width)


def _width(text: str) -> int:
    """In a terminal: Chinese characters take two cells, combining ones none."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(unicodedata.combining(character) > 0 for character in text)
