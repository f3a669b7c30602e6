"""Tables: what names a row is whole, in a pipe and in a narrow terminal."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stdout

import pytest

from pact_plugins.report.terminal import print_table

NAMES = ("mixture-of-harmful-and-benign-rows", "mixture-of-harmful-and-benign-texts")
ROWS = [
    (name, "-0.3125", "a sentence that is long enough to be folded [red]in a narrow terminal[/red]") for name in NAMES
]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(stream: io.StringIO) -> list[str]:
    with redirect_stdout(stream):
        print_table(("scenario", "figure", "meaning"), ROWS, numbers=("figure",), prose=("meaning",), title="A title")
    return re.sub("\x1b[^m]*m", "", stream.getvalue()).splitlines()


def test_in_a_pipe_every_row_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    lines = printed(io.StringIO())
    assert lines[0] == "A title"
    assert len(lines) == 3 + len(ROWS)
    assert [re.split("  +", line) for line in lines[3:]] == [list(row) for row in ROWS]


@pytest.mark.parametrize("columns", ["40", "80", "200"])
def test_in_a_terminal_only_sentences_are_folded(monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    lines = printed(Terminal())
    for name in NAMES:
        assert sum(name in line and "-0.3125" in line for line in lines) == 1
    assert "…" not in "".join(lines)
    if columns == "200":
        assert len(lines) == 3 + len(ROWS)
