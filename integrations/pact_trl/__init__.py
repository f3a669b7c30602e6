"""PACT for TRL: ``SFTTrainer(..., callbacks=[PACTCallback])``."""

from pact_plugins import PACTCallback, PACTConfig

__all__ = ["PACTCallback", "PACTConfig"]
