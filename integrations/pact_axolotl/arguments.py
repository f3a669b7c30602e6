"""What the plugin adds to the schema of an Axolotl YAML."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field, field_validator

from pact_plugins.config import PACTConfig


class PACTArguments(BaseModel):
    """Axolotl's schema inherits from this class."""

    pact: PACTConfig | None = Field(None, description="settings of PACT; left out, all defaults")

    @field_validator("pact", mode="before")
    @classmethod
    def _true_means_defaults(cls, value: Any) -> Any:
        return {} if value is True else value
