"""What the plugin adds to the schema of an Axolotl YAML."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field, field_validator

from pact_plugins.config import PACTConfig


class PACTArguments(BaseModel):
    """Axolotl's schema inherits from this class.

    The block stays as it was written: with every default filled in, nobody could tell any more what was asked for.
    """

    pact: dict[str, Any] | None = Field(None, description="settings of PACT; left out, all defaults")

    @field_validator("pact", mode="before")
    @classmethod
    def _is_a_configuration(cls, value: Any) -> Any:
        if value is None:
            return None
        PACTConfig.from_mapping(value)
        return {} if value is True else dict(value)
