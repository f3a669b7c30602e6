"""An objective: a divergence per response token from logits on the safety tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from pact_plugins.objective.gate import GateConfig


@dataclass(frozen=True)
class ObjectiveInputs:
    """What one micro-batch offers to an objective.

    ``|S|`` is the number of safety tokens in ascending id order (the whole vocabulary for ``full_vocabulary``
    objectives), N the number of response tokens.
    """

    train_logits: Tensor
    """(N, |S|) float32, carries gradient."""
    reference_logits: Tensor
    """(N, |S|) float32."""
    prompt_free_logits: Tensor | None
    """(N, |S|) float32 where the objective asks for them, else None."""
    weights: Tensor | None
    """(|S|,) float32, >= 0; None for ``full_vocabulary`` objectives."""
    positions: Tensor
    """(N,) int64, the position of each token in its response, from 0."""
    temperature: float
    gate: GateConfig
    options: Mapping[str, Any]
    """``objective_options`` of the configuration, as the user wrote them."""
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
        name: as written in ``objective:``.
        compute: maps the inputs to the per-token divergence; only ``train_logits`` may receive gradient.
        default_kl_coef: used where the configuration sets no ``kl_coef``.
        needs_prompt_free: whether a prompt-free reference pass is needed under this gate.
        needs_weights: whether at least one safety token must have a positive weight.
        full_vocabulary: the logits cover the whole vocabulary and no safety tokens are needed.
    """

    name: str
    compute: Callable[[ObjectiveInputs], ObjectiveOutput]
    default_kl_coef: float = 1.0
    needs_prompt_free: Callable[[GateConfig], bool] = lambda _gate: False
    needs_weights: bool = False
    full_vocabulary: bool = False
