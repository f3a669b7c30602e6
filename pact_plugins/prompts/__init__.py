"""Bundled prompts for real models: harmful requests, harmless look-alikes and plain requests, in two disjoint splits.

The requests name a wrong and nothing more: no method, no substance, no real person. Each harmful request has a harmless
partner that borrows its words (`pair_id`), so that over-refusal is measured on the same vocabulary. Plain requests are
what nobody would think of refusing: a cautious model may refuse look-alikes, never these. `calibration` is
for finding safety tokens and anything else that training looks at; `evaluation` is for measuring only.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TypeVar

from pact_plugins.errors import ConfigurationError

SPLITS = ("calibration", "evaluation")
T = TypeVar("T")


@dataclass(frozen=True)
class BundledPrompt:
    """One request: `category` is the wrong it names (or, for a look-alike, the wrong whose words it borrows)."""

    id: str
    category: str
    prompt: str
    split: str
    pair_id: str = ""


def harmful_prompts(split: str) -> list[BundledPrompt]:
    """The harmful requests of one split, in file order. Raises `ConfigurationError` for an unknown split."""
    return _prompts("harmful", split)


def harmless_prompts(split: str) -> list[BundledPrompt]:
    """The harmless look-alikes of one split, paired by `pair_id`. Raises `ConfigurationError` for an unknown split."""
    return _prompts("harmless", split)


def plain_prompts(split: str) -> list[BundledPrompt]:
    """The plain requests of one split. Raises `ConfigurationError` for an unknown split."""
    return _prompts("plain", split)


def _prompts(kind: str, split: str) -> list[BundledPrompt]:
    if split not in SPLITS:
        raise ConfigurationError(f"unknown prompt split {split!r}; choose one of {', '.join(SPLITS)}")
    return [prompt for prompt in _read(kind) if prompt.split == split]


def evenly_spread(prompts: Sequence[T], count: int) -> list[T]:
    """``count`` of them at even distances, so that every category of a sorted file is represented.

    Where there are fewer, they are repeated: each repetition gets a reply of its own.
    """
    if count <= len(prompts):
        return [prompts[index * len(prompts) // count] for index in range(count)]
    return [prompts[index % len(prompts)] for index in range(count)]


@cache
def _read(kind: str) -> tuple[BundledPrompt, ...]:
    text = files(__name__).joinpath(f"{kind}.jsonl").read_text(encoding="utf-8")
    return tuple(BundledPrompt(**json.loads(line)) for line in text.splitlines())


__all__ = ["SPLITS", "BundledPrompt", "evenly_spread", "harmful_prompts", "harmless_prompts", "plain_prompts"]
