"""Settings of the gate. Imports no torch: the command line reads every setting's description from here."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class GateConfig(BaseModel):
    """Settings of the gate (arXiv 2603.07445); the defaults are the published ones."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    top_p: float = Field(0.9, gt=0, le=1, description="probability mass that the counted set of tokens must reach")
    alpha: float = Field(2.0, ge=0, le=1000, description="steepness of the sigmoid")
    bias: float = Field(0.0, ge=-10, le=10, description="subtracted from the difference of the two indecisions")
    temperature: float = Field(1.0, gt=0, le=1000, description="softmax temperature of the counts")
    prefix_tokens: int = Field(8, ge=0, description="response tokens at full strength before the decay starts")
    decay_tau: float = Field(8.0, ge=0, description="decay constant in response tokens; 0 cuts hard after the prefix")
    boost: float = Field(1.0, ge=0, le=1, description="factor on the gate; 0 switches it off")
