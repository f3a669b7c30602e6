"""What a cell records of a model's answers: one letter or number a prompt, so that intervals can be resampled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

LETTERS = {
    "refuse": "r",
    "comply": "c",
    "other": "o",
    "refusal": "r",
    "partial_refusal": "r",
    "compliance": "c",
    "unengaged": "o",
    "empty": "o",
    "unscored": "o",
}


def letters(samples: Sequence[Any]) -> str:
    """``r``, ``c`` or ``o`` (refused, complied, neither) for each row of an lm-eval task."""
    return "".join(_letter(sample.metrics) for sample in samples)


def _letter(metrics: Mapping[str, float]) -> str:
    return next((letter for verdict, letter in LETTERS.items() if metrics.get(verdict) == 1.0), "o")


def share(verdicts: str, letter: str) -> list[float]:
    """1 where the verdict is ``letter``."""
    return [float(verdict == letter) for verdict in verdicts]
