"""From a preset and what is written to one set of settings: what is written wins, and changes nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from pact_plugins.settings import merged

DEFAULT_PRESET = "pact"
OFF = "off"


def over_preset(preset: Mapping[str, Mapping[str, Any]], written: Mapping[str, Any]) -> dict[str, Any]:
    """``written`` over the defaults of ``preset``, block by block.

    A block is False where it is switched off. What is None is not written.
    """
    said = {name: value for name, value in written.items() if value is not None}
    return {name: _over(preset.get(name, {}), said.get(name, True)) for name in {**preset, **said}}


def _over(defaults: Mapping[str, Any], written: Any) -> Any:
    """One block. What is no block stays as it is, for the schema to refuse."""
    if written is False or written == OFF:
        return False
    if written is True:
        return dict(defaults)
    if isinstance(written, BaseModel):
        written = written.model_dump(exclude_unset=True)
    if not isinstance(written, Mapping):
        return written
    return merged(defaults, {str(key): value for key, value in written.items() if value is not None})
