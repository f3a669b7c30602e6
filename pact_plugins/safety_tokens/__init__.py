"""Which tokens carry safety: scoring (pure), calibration (runs models), the artifact."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pact_plugins.contracts import SafetyTokens
    from pact_plugins.safety_tokens.scoring import direction_from_scores, safety_direction

__all__ = ["SafetyTokens", "direction_from_scores", "safety_direction"]


def __getattr__(name: str) -> Any:
    # The configuration needs the block's settings, and the command line reads it without torch.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    home = "pact_plugins.contracts" if name == "SafetyTokens" else f"{__name__}.scoring"
    return getattr(importlib.import_module(home), name)
