"""Presets: named sets of defaults for ``preset:``. A key that the user writes wins over its preset."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

DEFAULT_PRESET = "gate_anchor"
# The term alone: for whoever writes a key that presets set and names none, and where the default cannot be had.
BARE_PRESET = "match"

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

PRESET_KEYS = frozenset(key for preset in PRESETS.values() for key in preset)


def chosen_preset(settings: Mapping[str, Any]) -> str:
    """The preset that ``settings`` name; without one the default, or the bare term where they set what presets set."""
    if "preset" in settings:
        return str(settings["preset"])
    written = any(settings.get(key) is not None for key in PRESET_KEYS)
    return BARE_PRESET if written else DEFAULT_PRESET


def with_preset(settings: Mapping[str, Any]) -> dict[str, Any]:
    """``settings`` with the defaults of their preset; as they are where it is unknown.

    A preset's ``kl_coef`` belongs to its objective: with another objective, that objective's own default applies.
    """
    name = chosen_preset(settings)
    preset = dict(PRESETS.get(name, {}))
    if settings.get("objective", preset.get("objective")) != preset.get("objective"):
        preset.pop("kl_coef", None)
    given = {key: value for key, value in settings.items() if key != "kl_coef" or value is not None}
    # The default stays unwritten, so that it can be told from one that was named.
    named = {} if name == DEFAULT_PRESET else {"preset": name}
    return {**named, **preset, **given}
