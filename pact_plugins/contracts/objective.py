"""An objective: a divergence per response token from logits on a few tokens, or on the whole vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import Field

from pact_plugins.contracts.part_spec import TokenChoice, all_safety_tokens
from pact_plugins.settings import Block

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["MixtureSettings", "Objective", "ObjectiveInputs", "ObjectiveOutput", "TokenFacts"]


class MixtureSettings(Block):
    """``term.mixture``: how much of the target comes from the prompt-free reference (arXiv 2603.07445)."""

    top_p: float = Field(0.9, gt=0, le=1, description="probability mass that the counted set of tokens must reach")
    alpha: float = Field(2.0, ge=0, le=1000, description="steepness of the sigmoid")
    bias: float = Field(0.0, ge=-10, le=10, description="subtracted from the difference of the two indecisions")
    temperature: float = Field(1.0, gt=0, le=1000, description="softmax temperature of the counts")
    prefix_tokens: int = Field(8, ge=0, description="response tokens at full strength before the decay starts")
    decay_tau: float = Field(8.0, ge=0, description="decay constant in response tokens; 0 cuts hard after the prefix")
    boost: float = Field(
        1.0, ge=0, le=1, description="factor on the share of the prompt-free reference; 0 leaves it out"
    )


@dataclass(frozen=True)
class TokenFacts:
    """What calibration says of the K tokens whose logits an objective is given, in the order of the logits.

    Attributes:
        token_ids: (K,) int64.
        opens_refusal, opens_help: (K,) bool, whether refusals, or compliant answers, begin with it.
    """

    token_ids: Tensor
    opens_refusal: Tensor
    opens_help: Tensor


@dataclass(frozen=True)
class ObjectiveInputs:
    """What one micro-batch offers to an objective.

    K is the number of tokens that the objective has chosen: the safety tokens in ascending id order where it says
    nothing, the whole vocabulary for ``full_vocabulary``. N is the number of response tokens.
    """

    train_logits: Tensor
    """(N, K) float32, carries gradient."""
    reference_logits: Tensor
    """(N, K) float32."""
    prompt_free_logits: Tensor | None
    """(N, K) float32 where the objective asks for them, else None."""
    weights: Tensor | None
    """(K,) float32, >= 0, 0 where a token is no safety token; None for ``full_vocabulary`` objectives."""
    positions: Tensor
    """(N,) int64, the position of each token in its response, from 0."""
    temperature: float
    mixture: MixtureSettings
    options: Mapping[str, Any]
    """``term.options`` of the configuration, as the user wrote them."""
    tokens: TokenFacts | None = None
    """Which tokens the logits are of; None for ``full_vocabulary`` objectives."""
    target_ids: Tensor | None = None
    """(N,) int64, the response tokens themselves; meaningful among the logits of ``full_vocabulary`` objectives."""


@dataclass(frozen=True)
class ObjectiveOutput:
    """Per-token divergence (N,), and per-token values (N,) to log as ``pact/<name>``."""

    divergence: Tensor
    metrics: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Objective:
    """A named objective.

    Attributes:
        name: as written in ``term.objective``.
        compute: maps the inputs to the per-token divergence; only ``train_logits`` may receive gradient.
        default_weight: used where the configuration sets no ``term.weight``.
        needs_prompt_free: whether a prompt-free reference pass is needed under this mixture.
        needs_weights: whether at least one safety token must have a positive weight.
        full_vocabulary: the logits cover the whole vocabulary and no safety tokens are needed.
        reads: keys of ``term`` that have an effect on it, of temperature, mixture and options; others are refused.
        tokens: those whose logits it is given.
    """

    name: str
    compute: Callable[[ObjectiveInputs], ObjectiveOutput]
    default_weight: float = 1.0
    needs_prompt_free: Callable[[MixtureSettings], bool] = lambda _mixture: False
    needs_weights: bool = False
    full_vocabulary: bool = False
    reads: Collection[str] = ("temperature", "options")
    tokens: TokenChoice = all_safety_tokens
