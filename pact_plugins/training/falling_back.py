"""What happens where the default preset cannot be had and nobody has named one: the term alone, and a line says so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from pact_plugins.batch.responses import find_responses, without_prompt
from pact_plugins.batch.sequences import TokenSequence
from pact_plugins.batch.training_data import training_data
from pact_plugins.contracts import ReferenceContext
from pact_plugins.distributed import summed
from pact_plugins.errors import NoRowGateError
from pact_plugins.messages import warn
from pact_plugins.training.preparation import Preparation, Run, context_without_trainer, prepare
from pact_plugins.training.trainers import refuse_own_loss

if TYPE_CHECKING:
    from pact_plugins.config import PACTConfig

Made = TypeVar("Made")

_FIRST = 4  # rows that are looked at
_PROMPTS_TRAINED_ON = "the rows' prompts are trained on as if they were answers (TRL: assistant_only_loss)"


def prepared(
    model: nn.Module, tokenizer: Any, config: PACTConfig, run: Run, trainer: Any
) -> tuple[PACTConfig, Preparation]:
    """The configuration that holds, and the preparation by it; see ``prepare``.

    Args:
        trainer: where it computes a loss of its own, else None.

    Raises:
        NoRowGateError: the row gate was asked for, and has nothing to go by.
    """

    def attempt(settings: PACTConfig) -> Preparation:
        _refuse_row_gate(settings, run, trainer)
        return prepare(model, tokenizer, settings, run)

    return _or_bare(config, attempt)


def prepared_context(
    causal_lm: Any,
    tokenizer: Any,
    config: PACTConfig,
    precision: torch.dtype | None,
    sequences: Sequence[TokenSequence],
) -> ReferenceContext:
    """What a run on ``sequences`` that starts from the aligned ``causal_lm`` asks its reference.

    See ``context_without_trainer``.

    Raises:
        NoRowGateError: the row gate was asked for, and has nothing to go by.
    """

    def attempt(settings: PACTConfig) -> ReferenceContext:
        first = [(torch.from_numpy(one.labels)[None], None) for one in sequences[:_FIRST]]
        if settings.can_fall_back and settings.gates_rows and _have_no_prompts(first):
            raise NoRowGateError(_PROMPTS_TRAINED_ON)
        return context_without_trainer(causal_lm, tokenizer, settings, precision)

    return _or_bare(config, attempt)[1]


def _or_bare(config: PACTConfig, attempt: Callable[[PACTConfig], Made]) -> tuple[PACTConfig, Made]:
    """What ``attempt`` makes of ``config``, or of the term alone; and the configuration that it was."""
    try:
        return config, attempt(config)
    except NoRowGateError as error:
        if not config.can_fall_back:
            raise
        bare, reason = config.bare(), error
    # Raises again where a drift watch was asked for and there are no openings to look for.
    made = attempt(bare)
    warn(
        f"this run has preset: {bare.preset}, the term alone, as no preset was named and {config.preset} cannot be "
        f"had: {reason}"
    )
    return bare, made


def _refuse_row_gate(config: PACTConfig, run: Run, trainer: Any) -> None:
    """What can be known of trainer and rows before anything is computed."""
    if trainer is not None and config.weighs_rows:
        refuse_own_loss(trainer, config)
    # Where the gate was asked for, it says so itself, at the first row of all that is trained on.
    if not config.can_fall_back or not config.gates_rows:
        return
    # What one rank alone can see of the rows is to hold for all.
    if summed([float(_trains_on_prompts(run.train_dataloader))])[0]:
        raise NoRowGateError(_PROMPTS_TRAINED_ON)


def _trains_on_prompts(train_dataloader: Any) -> bool:
    """Of the first rows, all; False where they cannot be read ahead: the row gate will see."""
    data, _ = training_data(train_dataloader)
    if data is None:
        return False
    # Somebody's collator may be unable to take single rows; that is nothing to stop for.
    with suppress(Exception):
        rows = [one for one in data.inputs(range(min(_FIRST, len(data)))) if one.get("labels") is not None]
        return _have_no_prompts([(one["labels"], one.get("position_ids")) for one in rows])
    return False


def _have_no_prompts(rows: Sequence[tuple[Tensor, Tensor | None]]) -> bool:
    """Of rows as labels and position ids; False where they hold no response either."""
    found = [without_prompt(find_responses(labels, positions), positions) for labels, positions in rows]
    return any(map(len, found)) and all(one.all() for one in found)
