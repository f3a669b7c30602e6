"""``term.mixture``: how the published objectives mix two references. Imports no torch."""

from __future__ import annotations

from pydantic import Field

from pact_plugins.settings import Block


class MixtureSettings(Block):
    """How much of the target comes from the prompt-free reference (arXiv 2603.07445); defaults are the published."""

    top_p: float = Field(0.9, gt=0, le=1, description="probability mass that the counted set of tokens must reach")
    alpha: float = Field(2.0, ge=0, le=1000, description="steepness of the sigmoid")
    bias: float = Field(0.0, ge=-10, le=10, description="subtracted from the difference of the two indecisions")
    temperature: float = Field(1.0, gt=0, le=1000, description="softmax temperature of the counts")
    prefix_tokens: int = Field(8, ge=0, description="response tokens at full strength before the decay starts")
    decay_tau: float = Field(8.0, ge=0, description="decay constant in response tokens; 0 cuts hard after the prefix")
    boost: float = Field(
        1.0, ge=0, le=1, description="factor on the share of the prompt-free reference; 0 leaves it out"
    )
