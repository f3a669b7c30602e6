"""Presets: named sets of defaults for ``preset:``. A key that the user writes wins over its preset."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

DEFAULT_PRESET = "match"

PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        # The paper's own selection of tokens knows no openers.
        "published": {"objective": "published", "include_openers": False},
        "match": {"objective": "match"},
        # Without the term, which slows down what a short training can teach; what both worlds' figures speak for.
        "gate_anchor": {"objective": "match", "kl_coef": 0, "gate_training_rows": "hard", "anchor": "bundled"},
        "guard": {"objective": "match", "kl_coef": 0.5, "gate_training_rows": "hard", "anchor": "bundled"},
    }
)


def with_preset(settings: Mapping[str, Any]) -> dict[str, Any]:
    """``settings`` with the defaults of the preset that they name; as they are where the preset is unknown.

    A preset's ``kl_coef`` belongs to its objective: with another objective, that objective's own default applies.
    """
    preset = dict(PRESETS.get(str(settings.get("preset", DEFAULT_PRESET)), {}))
    if settings.get("objective", preset.get("objective")) != preset.get("objective"):
        preset.pop("kl_coef", None)
    given = {key: value for key, value in settings.items() if key != "kl_coef" or value is not None}
    return {**preset, **given}
