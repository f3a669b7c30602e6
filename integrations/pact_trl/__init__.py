"""PACT for TRL: ``SFTTrainer(..., callbacks=[PACTCallback])``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pact_plugins import PACTCallback, PACTConfig

__all__ = ["PACTCallback", "PACTConfig"]


def __getattr__(name: str) -> Any:
    # Every `pact` command loads this package's plugin, and importing transformers takes seconds.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import pact_plugins

    return getattr(pact_plugins, name)
