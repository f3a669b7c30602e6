"""The ``anchor:`` block of a configuration. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from pact_plugins.contracts import Needs
from pact_plugins.settings import Block

if TYPE_CHECKING:
    from pact_plugins.contracts import SafetyTokens

BUNDLED, GATED = "bundled", "gated"


class AnchorSettings(Block):
    """Which of the reference's own replies the model is held to, and how strongly."""

    prompts: str = Field(
        BUNDLED,
        min_length=1,
        description="what is replied to: bundled prompts, gated (requests of the training set that the reference would "
        "refuse), or a JSON or JSONL file of rows with prompt or messages, and kind (harmful, harmless, or the name of "
        "a behaviour, for which the bundled prompts stay beside it)",
    )
    replies: int = Field(64, ge=2, le=10_000, description="replies, equally many to each kind of prompt")
    weight: float = Field(1.0, gt=0, le=1e4, description="weight of the anchor beside the cross-entropy")
    share: float = Field(
        0.25, gt=0, le=16, description="replies of an optimizer step, as a share of its responses; at least one"
    )
    every: int = Field(
        1, ge=1, le=1000, description="anchor every so many optimizer steps, with so many times the weight"
    )
    max_new_tokens: int = Field(64, ge=1, le=4096, description="tokens of each reply")

    def files(self) -> dict[str, str | None]:
        return {"prompts": self.prompts_file}

    @property
    def prompts_file(self) -> str | None:
        """The user's own prompts, where ``prompts`` names a file."""
        return None if self.prompts in (BUNDLED, GATED) else self.prompts


def needs(settings: AnchorSettings) -> Needs:
    """The aligned model, which replies; where the training set's own requests are replied to, openings as well."""
    gated = settings.prompts == GATED
    return Needs(aligned_model=True, refusal_mass=gated, exact_above=_threshold if gated else None)


def _threshold(tokens: SafetyTokens) -> float:
    return tokens.refusal_threshold
