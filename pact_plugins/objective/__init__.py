"""The term itself: pure tensor functions on logits over the safety tokens, testable without a model."""

from pact_plugins.objective.divergence import full_kl, match, published, published_positive
from pact_plugins.objective.gate import GateConfig, gate_coefficient, indecision, position_decay, refuse_booleans

__all__ = [
    "GateConfig",
    "full_kl",
    "gate_coefficient",
    "indecision",
    "match",
    "position_decay",
    "published",
    "published_positive",
    "refuse_booleans",
]
