"""What filling a store will take: bytes, and seconds at the speed of batches that are tried out."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pact_plugins.errors import ConfigurationError

# Keys, offsets, and the file's own header.
_BYTES_PER_SEQUENCE = 48
_TRIED_OUT = 3


@dataclass(frozen=True)
class Prediction:
    """What is there and what is to come.

    Attributes:
        total: distinct sequences of the training set.
        missing: those that the store lacks.
        response_tokens: of these.
        bytes: that they will take on disk.
        seconds: that computing them will take; None where nothing was tried out.
    """

    total: int
    missing: int
    response_tokens: int
    bytes: int
    seconds: float | None = None

    @classmethod
    def of_size(cls, total: int, missing: int, response_tokens: int, record_bytes: int) -> Prediction:
        """With ``record_bytes`` for each response token; no word of time."""
        return cls(total, missing, response_tokens, response_tokens * record_bytes + missing * _BYTES_PER_SEQUENCE)

    def check_space(self, folder: Path) -> None:
        """Raise ConfigurationError where the disk of ``folder`` has not enough of it."""
        free = shutil.disk_usage(folder).free
        if self.bytes > free:
            raise ConfigurationError(
                f"reference.cache_path: the reference cache needs {in_bytes(self.bytes)} for "
                f"{self.response_tokens:,} response "
                f"tokens, but {folder} has {in_bytes(free)} free; name another folder, or use reference.kind: auto"
            )

    def __str__(self) -> str:
        there = f"{self.total - self.missing:,} of {self.total:,} sequences are there"
        each = "" if not self.response_tokens else f" ({self.bytes / self.response_tokens:.0f} bytes a token)"
        size = f"{self.response_tokens:,} response tokens, {in_bytes(self.bytes)} on disk{each}"
        time_taken = "" if self.seconds is None else f", about {in_time(self.seconds)}"
        return f"{there}; {self.missing:,} to compute with {size}{time_taken}"


def tokens_per_second(groups: Sequence[Any], compute: Callable[[Any], int]) -> float:
    """Speed over a few of ``groups``, from the first to the last; ``compute`` runs one and gives its tokens.

    The first is run twice: what happens once in a process (kernels chosen, memory taken) is no part of the speed.
    """
    compute(groups[0])
    chosen = sorted({round(place * (len(groups) - 1) / (_TRIED_OUT - 1)) for place in range(_TRIED_OUT)})
    began = time.perf_counter()
    tokens = sum(compute(groups[number]) for number in chosen)
    return tokens / (time.perf_counter() - began)


def in_bytes(count: float) -> str:
    """Three digits and a unit."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def in_time(seconds: float) -> str:
    """In the unit that people would use."""
    if seconds < 90:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
