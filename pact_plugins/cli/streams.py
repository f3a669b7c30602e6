"""Progress bars where nobody watches: a line now and then instead of a bar that redraws itself."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

# Read by tqdm when it is imported, here and in the programs started from here; what the user has set stays.
# A bar of a moment is not shown at all.
_PLAIN_BARS = {
    "TQDM_DELAY": "2",
    "TQDM_MININTERVAL": "10",
    "TQDM_BAR_FORMAT": "{l_bar} {n_fmt} of {total_fmt} [{elapsed}<{remaining}]",
}


class PlainStream:
    """A text stream in which each state of a progress bar is a line of its own.

    A bar goes back to the start of its line and writes it anew. In a file or a pipe that makes one endless line, and
    whatever is said next is glued to its end.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._line = ""  # not yet written: of a bar, or of a text without an end
        self._is_bar = False
        self._is_open = False  # a text without an end is written already
        self._last_bar = ""

    def write(self, text: str) -> int:
        for part in text.replace("\r\n", "\n").splitlines(keepends=True):
            if part.startswith("\r"):
                self._begin_bar()
            self._take(part.lstrip("\r"))
        return len(text)

    def flush(self) -> None:
        if self._is_bar:
            self._end_bar()
        else:
            self._stream.write(self._line)
            self._is_open = self._is_open or bool(self._line)
            self._line = ""
        self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _take(self, part: str) -> None:
        body = part.rstrip("\r\n")
        self._line += body
        if len(body) == len(part):
            return
        if part.endswith("\r"):
            self._begin_bar()
        elif self._is_bar:
            self._end_bar()
            self._is_bar = False
        else:
            self._stream.write(self._line + "\n")
            self._line, self._is_open = "", False

    def _begin_bar(self) -> None:
        if self._is_bar:
            self._end_bar()
        elif self._line or self._is_open:
            self._stream.write(self._line + "\n")
            self._line, self._is_open = "", False
        self._is_bar = True

    def _end_bar(self) -> None:
        line, self._line = self._line.rstrip(), ""
        # A bar that is closed is drawn once more as it was, and one that disappears is drawn over with blanks.
        if line and line != self._last_bar:
            self._stream.write(line + "\n")
        self._last_bar = line or self._last_bar


@contextmanager
def plain_where_nobody_watches() -> Iterator[None]:
    """Standard error through a ``PlainStream`` where it is no terminal; as it is elsewhere."""
    original = sys.stderr
    if original.isatty():
        yield
        return
    for name, value in _PLAIN_BARS.items():
        os.environ.setdefault(name, value)
    plain = PlainStream(original)
    sys.stderr = plain  # type: ignore[assignment]
    try:
        yield
    finally:
        plain.flush()
        sys.stderr = original
