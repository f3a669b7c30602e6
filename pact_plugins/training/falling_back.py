"""What happens where the default preset cannot be had and nobody has named one: the term alone, and a line says so."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from torch import nn

from pact_plugins.batch.responses import find_responses
from pact_plugins.batch.training_data import training_data
from pact_plugins.errors import NoRowGateError
from pact_plugins.messages import announce
from pact_plugins.row_gate.gate import are_whole_rows
from pact_plugins.training.preparation import Preparation, Run, prepare
from pact_plugins.training.trainers import refuse_own_loss

if TYPE_CHECKING:
    from pact_plugins.config import PACTConfig

_FIRST = 4  # rows that are looked at


def prepared(
    model: nn.Module, tokenizer: Any, config: PACTConfig, run: Run, trainer: Any
) -> tuple[PACTConfig, Preparation]:
    """The configuration that holds, and the preparation by it; see ``prepare``.

    Args:
        trainer: where it computes a loss of its own, else None.

    Raises:
        NoRowGateError: the row gate was asked for, and has nothing to go by.
    """
    try:
        _refuse_row_gate(config, run, trainer)
        return config, prepare(model, tokenizer, config, run)
    except NoRowGateError as error:
        if not config.can_fall_back:
            raise
        bare, reason = config.bare(), error
    # Raises again where a drift watch was asked for and there are no openings to look for.
    preparation = prepare(model, tokenizer, bare, run)
    announce(
        f"this run has preset: {bare.preset}, the term alone, as no preset was named and {config.preset} cannot be "
        f"had: {reason}"
    )
    return bare, preparation


def _refuse_row_gate(config: PACTConfig, run: Run, trainer: Any) -> None:
    """What can be known of trainer and rows before anything is computed."""
    if trainer is not None and config.weighs_rows:
        refuse_own_loss(trainer, config)
    # Where the gate was asked for, it says so itself, at the first row of all that is trained on.
    if config.can_fall_back and config.gates_rows and _trains_on_prompts(run.train_dataloader):
        raise NoRowGateError("the rows' prompts are trained on as if they were answers (TRL: assistant_only_loss)")


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
