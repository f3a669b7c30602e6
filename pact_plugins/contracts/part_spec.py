"""How a part of the loss is registered. Imports no torch: the command line reads every part's settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Literal

from pact_plugins.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

    from pact_plugins.contracts.part import Part, PartContext
    from pact_plugins.contracts.safety_tokens import SafetyTokens

__all__ = ["Needs", "PartSpec", "ResponseKind", "TokenChoice", "all_safety_tokens"]

ResponseKind = Literal["all", "answered", "refused"]
"""Which responses: all, or those to requests that the reference would answer, or would refuse."""

TokenChoice = Callable[["SafetyTokens"], "Tensor"]
"""From the safety tokens to the (K,) int64 ids, each once, of the tokens whose logits are wanted."""


def all_safety_tokens(tokens: SafetyTokens) -> Tensor:
    """Every safety token, in ascending order of the ids."""
    return tokens.token_ids


@dataclass(frozen=True)
class Needs:
    """What a part needs all run long: what it asks the reference in every micro-batch, and what must be there for it.

    Attributes:
        logits: of which tokens, at every response token; None for none.
        logits_in: the responses in which they are wanted: all, or those whose requests the reference would answer, or
            would refuse, which needs ``refusal_mass``. Elsewhere they may be zeros, and nobody has to be asked.
        whole_vocabulary: the logits of every token instead.
        prompt_free: the same logits given the assistant header alone as well.
        measured: the probability mass on the tokens of ``logits`` where ``Part.measured`` asks for it.
        refusal_mass: how probable it is that the reference's own reply begins as a refusal does, for each response.
        exact_above: from the safety tokens to the refusal mass up to which an upper bound will do; None for none.
        safety_tokens: it is built from the safety tokens, though it may ask no logits.
        weights: at least one safety token must have a positive weight.
        openings: the safety tokens must name openings of refusals; ``refusal_mass`` includes it.
        aligned_model: it runs the aligned model itself while it is built, with the adapter off.
    """

    logits: TokenChoice | None = None
    logits_in: ResponseKind = "all"
    whole_vocabulary: bool = False
    prompt_free: bool = False
    measured: bool = False
    refusal_mass: bool = False
    exact_above: Callable[[SafetyTokens], float] | None = None
    safety_tokens: bool = False
    weights: bool = False
    openings: bool = False
    aligned_model: bool = False

    @property
    def asks_logits(self) -> bool:
        """Whether the reference is asked in every micro-batch."""
        return self.logits is not None or self.whole_vocabulary

    @property
    def asks_reference(self) -> bool:
        """Whether there must be a reference; a refusal mass is asked for once."""
        return self.asks_logits or self.refusal_mass

    @property
    def needs_openings(self) -> bool:
        """Whether openings of refusals must be known."""
        return self.openings or self.refusal_mass

    @property
    def needs_safety_tokens(self) -> bool:
        """Whether safety tokens must be found, or calibrated."""
        return self.reads_tokens or self.needs_openings

    @property
    def reads_tokens(self) -> bool:
        """Whether it reads the safety tokens themselves, beside the openings of refusals."""
        return self.logits is not None or self.safety_tokens or self.weights


@dataclass(frozen=True)
class PartSpec(Generic[Settings]):
    """A named part of the loss.

    Attributes:
        name: its block's key in the configuration, and its name in messages and receipts.
        settings: the model of its block, which is made without arguments where the block is ``true``.
        build: makes the part before the first training step; ``Part`` subclasses that take a ``PartContext`` fit.
        needs: from its settings to what it needs; nothing by default.
    """

    name: str
    settings: type[Settings]
    build: Callable[[PartContext[Settings]], Part]
    needs: Callable[[Settings], Needs] = lambda _settings: Needs()
