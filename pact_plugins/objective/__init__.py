"""The term itself: pure tensor functions on logits over the safety tokens, testable without a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pact_plugins.objective.divergence import full_kl, match, published, published_positive
    from pact_plugins.objective.gate import gate_coefficient, indecision, position_decay
    from pact_plugins.objective.gate_config import GateConfig, refuse_booleans

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

_HOME = {
    "GateConfig": "gate_config",
    "refuse_booleans": "gate_config",
    "gate_coefficient": "gate",
    "indecision": "gate",
    "position_decay": "gate",
}


def __getattr__(name: str) -> Any:
    # The configuration needs the gate's settings, and the command line reads it without torch.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_HOME.get(name, 'divergence')}"), name)
