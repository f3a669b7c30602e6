"""Settings of the gate. Imports no torch: the command line reads every setting's description from here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator


def refuse_booleans(model: type[BaseModel], data: Any) -> Any:
    """``data``, unless a key of ``model`` that is a number holds a boolean.

    YAML reads ``yes`` and ``on`` as true, which would otherwise pass for 1.
    """
    for key, value in data.items() if isinstance(data, Mapping) else ():
        field = model.model_fields.get(str(key))
        if isinstance(value, bool) and field is not None and field.annotation in (int, float, float | None):
            raise ValueError(f"{key}: expected a number, found {value}; write the number itself")
    return data


class GateConfig(BaseModel):
    """Settings of the gate (arXiv 2603.07445); the defaults are the published ones."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _booleans_are_no_numbers(cls, data: Any) -> Any:
        return refuse_booleans(cls, data)

    top_p: float = Field(0.9, gt=0, le=1, description="probability mass that the counted set of tokens must reach")
    alpha: float = Field(2.0, ge=0, le=1000, description="steepness of the sigmoid")
    bias: float = Field(0.0, ge=-10, le=10, description="subtracted from the difference of the two indecisions")
    temperature: float = Field(1.0, gt=0, le=1000, description="softmax temperature of the counts")
    prefix_tokens: int = Field(8, ge=0, description="response tokens at full strength before the decay starts")
    decay_tau: float = Field(8.0, ge=0, description="decay constant in response tokens; 0 cuts hard after the prefix")
    boost: float = Field(1.0, ge=0, le=1, description="factor on the gate; 0 switches it off")
