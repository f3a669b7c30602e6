"""The ``row_gate:`` block of a configuration. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pact_plugins.contracts import Needs
from pact_plugins.settings import Block

if TYPE_CHECKING:
    from pact_plugins.contracts import SafetyTokens


class RowGateSettings(Block):
    """What becomes of responses to requests that the reference would refuse."""

    mode: Literal["hard", "soft", "report"] = Field(
        "hard", description="hard: their loss is left out; soft: weighed down; report: only counted and listed"
    )
    threshold: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="refusal mass above which a response is gated (default: from the safety tokens, at least 0.5)",
    )

    def threshold_by(self, tokens: SafetyTokens) -> float:
        """The refusal mass above which a response is gated."""
        return self.threshold or tokens.refusal_threshold

    @property
    def weighs(self) -> bool:
        """Whether the cross-entropy changes."""
        return self.mode != "report"


def needs(settings: RowGateSettings) -> Needs:
    """The refusal mass of every response, exact where it may matter."""
    # A soft gate weighs every row by its mass; the others only ask on which side of the threshold it is.
    return Needs(refusal_mass=True, exact_above=None if settings.mode == "soft" else settings.threshold_by)
