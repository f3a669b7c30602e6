"""What happens where the default preset cannot be had and nobody has named one: the term alone, and a line says so."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from torch import nn

from pact_plugins.batch.responses import find_responses
from pact_plugins.batch.training_data import training_data
from pact_plugins.errors import ConfigurationError, NoRowGateError
from pact_plugins.messages import announce
from pact_plugins.row_gate.gate import are_whole_rows
from pact_plugins.training.preparation import Preparation, Run, prepare
from pact_plugins.training.trainers import refuse_own_loss

if TYPE_CHECKING:
    from pact_plugins.config import PACTConfig

_FIRST = 4  # rows that are looked at


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
    if not config.can_fall_back:
        return config, prepare(model, tokenizer, config, run)
    if config.gates_rows and _trains_on_prompts(run.train_dataloader):
        config = _bare(config, "the rows' prompts are trained on as if they were answers (TRL: assistant_only_loss)")
    try:
        return config, prepare(model, tokenizer, config, run)
    except NoRowGateError as error:
        # Without openings the watch would not know what to look for either.
        if config.drift_watch is not None:
            raise
        config = _bare(config, error)
        return config, prepare(model, tokenizer, config, run)


def _trains_on_prompts(train_dataloader: Any) -> bool:
    """Of the first rows, all; False where they cannot be read ahead: the row gate will see."""
    data, _ = training_data(train_dataloader)
    if data is None:
        return False
    # Somebody's collator may be unable to take single rows; that is nothing to stop for.
    with suppress(Exception):
        labels = data.labels(range(min(_FIRST, len(data))))
        return bool(labels) and all(are_whole_rows(find_responses(one)) for one in labels)
    return False


def _bare(config: PACTConfig, why: object) -> PACTConfig:
    bare = config.bare()
    announce(
        f"this run has preset: {bare.preset}, the term alone, as no preset was named and {config.preset} cannot be "
        f"had: {why}"
    )
    return bare
