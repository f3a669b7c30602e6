"""Prompts that the model is measured with: some to learn opening tokens from, others to measure rates on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pact_plugins.audit.scoring.encoding import TurnEncoder
from pact_plugins.errors import ConfigurationError
from pact_plugins.prompts import harmful_prompts, plain_prompts

Kind = Literal["harmful", "harmless"]
_BUNDLED = {"harmful": harmful_prompts, "harmless": plain_prompts}


@dataclass(frozen=True)
class SplitPrompts:
    """Encoded prompts of one kind; no prompt is in both lists unless it was given twice."""

    learnt: list[list[int]]
    measured: list[list[int]]
    origin: str


def split_prompts(kind: Kind, given: Sequence[str] | None, encoder: TurnEncoder) -> SplitPrompts:
    """The bundled prompts by their own splits, or every second of the given ones.

    Raises:
        ConfigurationError: fewer than two are given.
    """
    if given is None:
        splits = [[item.prompt for item in _BUNDLED[kind](split)] for split in ("calibration", "evaluation")]
    elif len(given) < 2:
        raise ConfigurationError(f"{kind}_prompts: {len(given)} is too few, because half of them are held out")
    else:
        splits = [list(given[0::2]), list(given[1::2])]
    learnt, measured = ([encoder.prompt(text) for text in split] for split in splits)
    return SplitPrompts(learnt, measured, "bundled" if given is None else "given")
