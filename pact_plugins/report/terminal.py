"""Tables in the terminal: one style, and nothing that names a row is ever shortened."""

from __future__ import annotations

import io
import sys
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from pact_plugins.report.lines import as_text

_PROSE_WIDTH = 24  # characters that a column of sentences keeps, however narrow the terminal is


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
    from rich.console import Console
    from rich.measure import Measurement

    table = _table(header, list(rows), numbers, prose)
    console = Console(file=sys.stdout)
    measured = Measurement.get(console, console.options.update(max_width=1_000_000), table)
    watched = sys.stdout.isatty()
    if watched and measured.minimum > console.width:
        table.padding = (0, 0)
        measured = Measurement.get(console, console.options.update(max_width=1_000_000), table)
    console.width = max(console.width, measured.minimum) if watched else measured.maximum
    if title:
        sys.stdout.write(f"{title}\n")
    if watched:
        console.print(table)
        return
    text = io.StringIO()
    Console(file=text, width=measured.maximum).print(table)
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in text.getvalue().splitlines()))


def _table(
    header: Sequence[str], rows: Sequence[Sequence[str]], numbers: Collection[str], prose: Collection[str]
) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    cells = [[as_text(cell) for cell in row] for row in rows]
    lines = [[line for row in (header, *rows) for line in row[place].split("\n")] for place in range(len(header))]
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for place, heading in enumerate(header):
        widest = max(Text(line).cell_len for line in lines[place])
        table.add_column(
            heading,
            justify="right" if heading in numbers else "left",
            min_width=min(widest, _PROSE_WIDTH) if heading in prose else widest,
            overflow="fold",
        )
    for row in cells:
        table.add_row(*row)
    return table
