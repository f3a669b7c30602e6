"""What a fine-tuning framework is to the command line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Framework:
    """A framework that ``pact train NAME`` launches.

    Attributes:
        name: as typed by the user.
        description: one line for ``pact train --help``.
        train: receives the remaining command-line arguments and returns the exit status.
    """

    name: str
    description: str
    train: Callable[[Sequence[str]], int]
