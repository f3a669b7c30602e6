"""One training run under ``stage: pact``: LLaMA-Factory's own SFT run, with the callback on its trainer."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pact_llamafactory.arguments import take_stage
from pact_llamafactory.bypasses import refuse_bypasses
from pact_llamafactory.targets import first_time
from pact_plugins.config import PACTConfig
from pact_plugins.errors import UnprotectedTrainingError
from pact_plugins.messages import announce

if TYPE_CHECKING:
    from pact_plugins.training import PACTCallback

TrainingFunction = Callable[[dict[str, Any]], None]


def put_into(tuner: ModuleType) -> bool:
    """Let ``llamafactory.train.tuner`` train with the stage; returns whether it did not before."""
    first = first_time(tuner)
    if first:
        tuner._training_function = functools.partial(train, tuner._training_function)  # type: ignore[attr-defined]
    return first


def train(original: TrainingFunction, config: dict[str, Any]) -> None:
    """LLaMA-Factory's training function, for every stage and ours.

    Args:
        original: its own, which knows nothing of ``stage: pact``.
        config: ``args`` and ``callbacks`` as it receives them.

    Raises:
        ConfigurationError: a wrong ``pact:`` block, a block without ``stage: pact``, or a setting that bypasses the
            trainer.
        UnprotectedTrainingError: the run ended without ever making the trainer.
    """
    stage = take_stage(config["args"])
    if stage is None:
        original(config)
        return
    refuse_bypasses(stage.arguments)
    with protected_trainers(stage.config()) as made:
        # It appends its own callbacks to the list that it is given: a copy keeps the caller's as it was.
        original({**config, "args": stage.arguments, "callbacks": list(config.get("callbacks") or [])})
        # It writes the card by a method of its own choice, past the trainer's.
        for callback in made:
            callback.write_card()
    if not made:
        raise UnprotectedTrainingError(
            "this version of LLaMA-Factory ran without its SFT trainer, so nothing was protected; do not use the result"
        )


@contextmanager
def protected_trainers(config: PACTConfig) -> Iterator[list[PACTCallback]]:
    """Every SFT trainer made inside the block carries a callback; yields those of the trainers made."""
    from llamafactory.train.sft import workflow

    original = workflow.CustomSeq2SeqTrainer
    made: list[PACTCallback] = []

    def make(*args: Any, **kwargs: Any) -> Any:
        trainer = original(*args, **kwargs)
        made.append(protect(trainer, config))
        return trainer

    workflow.CustomSeq2SeqTrainer = make
    try:
        yield made
    finally:
        workflow.CustomSeq2SeqTrainer = original


def protect(trainer: Any, config: PACTConfig) -> PACTCallback:
    """Put a callback on ``trainer``, joined to the loss that it will back-propagate."""
    from pact_plugins.run_record import warn_of_half_written_checkpoint
    from pact_plugins.training import PACTCallback

    warn_of_half_written_checkpoint(trainer.args.output_dir)
    outside = trainer if computes_own_loss(trainer) else None
    callback = PACTCallback(config, trainer=outside, chat_template=chat_template_of(trainer))
    accumulates = trainer.args.gradient_accumulation_steps > 1
    if computes_own_loss(trainer) and accumulates and not scales_with_accumulation(trainer):
        announce(
            "this loss (ASFT, label smoothing) grows with gradient_accumulation_steps and PACT's term does not: with "
            f"{trainer.args.gradient_accumulation_steps} steps the term weighs that much less beside it. Use one step "
            "and a larger batch, or raise term.weight"
        )
    trainer.add_callback(callback)
    return callback


def chat_template_of(trainer: Any) -> str | None:
    """``template:``, by which the rows were rendered, as a chat template; None where it cannot be had as one."""
    template: Any = getattr(trainer.data_collator, "template", None)
    # It raises where a template has something that it cannot say in jinja; the tokenizer's own is what is left.
    with suppress(Exception):
        return str(template._get_jinja_template(trainer.processing_class))
    return None


def computes_own_loss(trainer: Any) -> bool:
    """Whether the trainer makes its loss from logits (DFT, EAFT, ASFT, label smoothing) and not inside the model."""
    return trainer.compute_loss_func is not None or trainer.label_smoother is not None


def scales_with_accumulation(trainer: Any) -> bool:
    """Whether the trainer's own loss has the denominator of the whole accumulated batch."""
    if trainer.finetuning_args.use_asft_loss:
        return False
    if trainer.compute_loss_func is not None or not trainer.model_accepts_loss_kwargs:
        return True
    # Before transformers knew better, nobody divided the label-smoothed loss of a micro-batch by the steps.
    return "num_items_in_batch" in inspect.signature(type(trainer.label_smoother).__call__).parameters
