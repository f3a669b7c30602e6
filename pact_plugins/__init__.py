"""PACT: keep an aligned model's refusals while you fine-tune it (arXiv 2603.07445)."""

from __future__ import annotations

# Not typing's: an enabled interpreter imports this file at every start, and typing costs more than all the rest.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pact_plugins.config import PACTConfig
    from pact_plugins.safety_tokens import SafetyTokens
    from pact_plugins.training import PACTCallback

__all__ = ["PACTCallback", "PACTConfig", "SafetyTokens"]

_HOME = {
    "PACTCallback": "pact_plugins.training",
    "PACTConfig": "pact_plugins.config",
    "SafetyTokens": "pact_plugins.safety_tokens",
}


def __getattr__(name: str) -> Any:
    # Importing transformers takes seconds, and the command line asks for --help.
    if name not in _HOME:
        raise AttributeError(f"module 'pact_plugins' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOME[name]), name)
