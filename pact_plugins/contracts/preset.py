"""A preset: a named set of defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Preset"]


@dataclass(frozen=True)
class Preset:
    """A named set of defaults for ``preset:``.

    Attributes:
        name: as written in ``preset:``.
        description: one line for lists of presets.
        settings: by block, the keys that it sets. A part without a block here is off.
    """

    name: str
    description: str
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
