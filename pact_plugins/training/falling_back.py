"""What happens where the default preset cannot be had and nobody has named one: the term alone, and a line says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from pact_plugins.errors import ConfigurationError, NoRowGateError
from pact_plugins.messages import announce
from pact_plugins.training.preparation import Preparation, Run, prepare
from pact_plugins.training.trainers import refuse_own_loss

if TYPE_CHECKING:
    from pact_plugins.config import PACTConfig


def for_own_loss(config: PACTConfig, trainer: Any) -> PACTConfig:
    """What can join a loss that ``trainer`` computes itself.

    Raises:
        ConfigurationError: the row gate was asked for, which cannot.
    """
    if not config.weighs_rows:
        return config
    try:
        refuse_own_loss(trainer, config)
    except ConfigurationError as error:
        if not config.can_fall_back:
            raise
        return _bare(config, error)
    return config


def prepared(model: nn.Module, tokenizer: Any, config: PACTConfig, run: Run) -> tuple[PACTConfig, Preparation]:
    """The configuration that holds, and the preparation by it; see ``prepare``."""
    try:
        return config, prepare(model, tokenizer, config, run)
    except NoRowGateError as error:
        if not config.can_fall_back or config.drift_watch is not None:
            raise
        config = _bare(config, error)
        return config, prepare(model, tokenizer, config, run)


def _bare(config: PACTConfig, why: ConfigurationError) -> PACTConfig:
    bare = config.bare()
    announce(
        f"this run has preset: {bare.preset}, the term alone, as no preset was named and {config.preset} cannot be "
        f"had: {why}"
    )
    return bare
