"""The term itself: pure tensor functions on logits over the safety tokens, testable without a model."""

from pact_plugins.objective.divergence import full_kl, match, published, published_positive
from pact_plugins.objective.gate import GateConfig, gate_coefficient, indecision, position_decay
from pact_plugins.objective.registry import Objective, ObjectiveInputs, ObjectiveOutput

__all__ = [
    "GateConfig",
    "Objective",
    "ObjectiveInputs",
    "ObjectiveOutput",
    "full_kl",
    "gate_coefficient",
    "indecision",
    "match",
    "position_decay",
    "published",
    "published_positive",
]
