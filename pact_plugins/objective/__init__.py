"""The term itself: pure tensor functions on logits over the safety tokens, testable without a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pact_plugins.objective.divergence import full_kl, match, published, published_positive
    from pact_plugins.objective.mixture import indecision, mixture_share, position_decay
    from pact_plugins.objective.settings import MixtureSettings

__all__ = [
    "MixtureSettings",
    "full_kl",
    "indecision",
    "match",
    "mixture_share",
    "position_decay",
    "published",
    "published_positive",
]

_HOME = {
    "MixtureSettings": "settings",
    "mixture_share": "mixture",
    "indecision": "mixture",
    "position_decay": "mixture",
}


def __getattr__(name: str) -> Any:
    # The configuration needs the mixture's settings, and the command line reads it without torch.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_HOME.get(name, 'divergence')}"), name)
