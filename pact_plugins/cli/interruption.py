"""Ctrl-C: one line that says what is kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click


class Interrupted(click.Abort):
    """Ctrl-C in a command that keeps what it has done; its text is what the user is told."""


@contextmanager
def keeping(what: str) -> Iterator[None]:
    """Around the work of a command that can be started again; ``what`` is kept of it, in one sentence."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(f"Interrupted. {what}") from None
