"""``PACTCallback``: the one line that a user adds to any trainer built on ``transformers.Trainer``."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, SaveStrategy

from pact_plugins.batch.training_data import training_data
from pact_plugins.compatibility import check_versions
from pact_plugins.config import PACTConfig
from pact_plugins.errors import ConfigurationError, UnprotectedTrainingError
from pact_plugins.messages import announce, is_main_process, warn
from pact_plugins.model_card.keeping import CardKeeper
from pact_plugins.run_record import (
    SAFETY_TOKENS_FILE,
    changed_settings,
    keep,
    kept_aligned_weights,
    kept_progress,
    warn_of_half_written_checkpoint,
    write_run_record,
)
from pact_plugins.safety_tokens import SafetyTokens
from pact_plugins.training.attachment import was_moved_by_others, was_trained_in_full
from pact_plugins.training.history import History
from pact_plugins.training.preparation import Preparation, Run, prepare
from pact_plugins.training.trainers import (
    calling_trainer,
    loss_scale_of,
    own_loss_of,
    precision_of,
    refuse_bypassed_outputs,
    refuse_data_parallel,
    refuse_other_trainers,
    refuse_two_best_checkpoints,
    suspects,
    take_first_place,
    will_save,
)


class PACTCallback(TrainerCallback):
    """Adds what its configuration asks for to a trainer's loss: by default row gate and anchor.

    ``callbacks=[PACTCallback]`` uses the defaults; ``callbacks=[PACTCallback(PACTConfig(...))]`` a configuration.

    Args:
        config: a ``PACTConfig`` or a mapping of its keys.
        safety_tokens: use these instead of ``config.safety_tokens``.
        trainer: where the trainer computes its loss outside the model (label smoothing, EAFT ...), give it here and
            the term joins ``trainer.compute_loss`` instead of the model's outputs.
        chat_template: that the rows were rendered by, where it is not the tokenizer's own.

    Everything that can be wrong raises a ``PACTError`` when training starts, before the first step. While training, an
    ``UnprotectedTrainingError`` stops the run before any optimizer step whose gradient lacks a part of it.
    """

    def __init__(
        self,
        config: PACTConfig | Mapping[str, Any] | None = None,
        *,
        safety_tokens: SafetyTokens | None = None,
        trainer: Any = None,
        chat_template: str | None = None,
    ) -> None:
        self._config = config if isinstance(config, PACTConfig) else PACTConfig.from_mapping(config)
        self._given_safety_tokens = safety_tokens
        self._trainer, self._chat_template = trainer, chat_template
        self._preparation: Preparation | None = None
        self._trained: weakref.ref[Any] | None = None
        self._safety_tokens: SafetyTokens | None = None
        self._step_loss_scale = 1.0
        self._history: History | None = None
        self._began = False
        self._card = CardKeeper()

    @property
    def config(self) -> PACTConfig:
        """The settings that hold; another configuration needs another callback."""
        return self._config

    def on_init_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """A half-written checkpoint is named before the trainer stumbles over it."""
        warn_of_half_written_checkpoint(args.output_dir)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Check everything, calibrate if need be, and attach."""
        self._detach()
        self._began = True
        take_first_place(self, inspect.currentframe())
        if self.config.is_off:
            warn(f"preset: {self.config.preset}: nothing is added, this is the framework's own run")
            return
        check_versions()
        refuse_data_parallel(args)
        refuse_other_trainers(args)
        refuse_two_best_checkpoints(args, self.config)
        if self._trainer is None:
            refuse_bypassed_outputs(args)
        model = kwargs["model"]
        if not state.global_step and self.config.reference.path is None and was_moved_by_others(model):
            raise ConfigurationError(
                "an optimizer of this process has moved the model's weights before this training, and nobody knows "
                "whether they are still the aligned model's: load the aligned model anew, or set reference.path to "
                "it"
            )
        # A second call of train(), or a second trainer, starts from weights that have moved, as a resumed run does.
        again = (self._trained is not None and self._trained() is model) or was_trained_in_full(model)
        resumed = state.global_step > 0 or again
        run = Run(
            resumed=resumed,
            precision=precision_of(args),
            train_dataloader=kwargs.get("train_dataloader"),
            safety_tokens=self._known_safety_tokens(args, resumed=resumed, again=again),
            log_history=state.log_history,
            own_loss=None if self._trainer is None else own_loss_of(self._trainer),
            resumed_in=Path(args.output_dir or ".") if state.global_step else None,
            aligned_weights=kept_aligned_weights(state),
            chat_template=self._chat_template,
        )
        tokenizer = kwargs.get("processing_class") or kwargs.get("tokenizer")
        self._preparation = prepare(model, tokenizer, self.config, run)
        moved = state.global_step > 0 or (again and (self._history is None or self._history.has_stepped))
        self._history = History(model, state, self._preparation, self.config, has_moved=moved)
        self._preparation.restore(kept_progress(state))
        self._trained, self._safety_tokens = weakref.ref(model), self._preparation.safety_tokens
        if self._preparation.drift_watch is not None:
            self._preparation.drift_watch.begin(state)
        attachment = self._preparation.attachment
        if self._trainer is None:
            attachment.attach_to_outputs()
        else:
            attachment.attach_to_compute_loss(self._trainer)
        if args.output_dir and is_main_process():
            self._preparation.save(Path(args.output_dir))
            self._card.begin(self._trainer or calling_trainer(inspect.currentframe()), Path(args.output_dir))

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """The metrics that cost something are computed only in steps that will be logged."""
        if not self._began and not self.config.is_off:
            raise UnprotectedTrainingError(
                "the callback was added after training had begun, so that nothing was checked or attached; give it to "
                "the trainer before train()"
            )
        if self._preparation is not None and self._history is not None:
            self._history.watch.begin_step(kwargs.get("optimizer"))
            # DeepSpeed steps inside backward() and may change its scale there: what counts is the one before.
            self._step_loss_scale = loss_scale_of(kwargs.get("optimizer"))
            step = state.global_step + 1
            attachment = self._preparation.attachment
            attachment.begin_step(state.global_step, micro_batches=args.gradient_accumulation_steps)
            attachment.measure = step == 1 or step % max(1, int(state.logging_steps or 1)) == 0

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Every micro-batch must have brought its gradient receipt."""
        if self._preparation is None or self._history is None:
            return
        self._preparation.attachment.weights_move()
        try:
            self._preparation.attachment.receipts.settle(
                loss_scale=self._step_loss_scale,
                exact=self.config.receipts == "exact",
                suspects=suspects(args),
            )
        except UnprotectedTrainingError:
            # The trainer tells nobody that it stops.
            self._detach()
            raise
        self._history.watch.checked()

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """A step whose loss was no finite number must have been skipped."""
        if self._preparation is None:
            return
        skipped = getattr(kwargs.get("optimizer"), "step_was_skipped", True)
        if self._preparation.attachment.receipts.awaits_skip and not skipped:
            self._detach()
            raise UnprotectedTrainingError(
                "the loss of this step was not a finite number, and the gradient scaler did not skip it; lower the "
                "learning rate, or train in bfloat16"
            )

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Every few steps refusals are looked at; then, and before a checkpoint, the reference must be what it was."""
        if self._preparation is None or self._history is None:
            return
        self._history.watch.stepped()
        drift_watch = self._preparation.drift_watch
        if drift_watch is not None and drift_watch.is_due(state):
            drift_watch.evaluate(args, state, control)
        saves = will_save(args, state, control, "on_step_end")
        if saves or state.global_step % (self.config.reference.check_every or 1) == 0:
            self._check_reference(state.global_step)
        self._keep(state, saves=saves)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Before a checkpoint the reference must be what it was."""
        if self._preparation is not None and will_save(args, state, control, "on_epoch_end"):
            self._check_reference(state.global_step)
            self._keep(state, saves=True)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """What evaluation says may lead to a checkpoint."""
        if self._preparation is None or self._history is None or not self._history.has_begun(state.global_step):
            return
        self._check_reference(state.global_step)
        self._keep(state, saves=True, digest=args.save_strategy == SaveStrategy.BEST)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """A checkpoint that somebody else asked for names its weights too."""
        if self._preparation is not None and self._history is not None:
            folder = Path(args.output_dir or ".") / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
            self._history.saved(folder, state, self._preparation)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Add ``pact/...`` to the trainer's own line of the log."""
        if self._preparation is None or logs is None or "loss" not in logs:
            return
        means = self._preparation.attachment.metrics.take()
        values = {f"pact/{name}": value for name, value in means.items()}
        if self._preparation.reference is not None:
            values |= {f"pact/{name}": value for name, value in self._preparation.reference.metrics().items()}
        if self._preparation.drift_watch is not None:
            values |= self._preparation.drift_watch.take_unlogged()
        logs.update(values)
        if state.log_history:
            state.log_history[-1].update(values)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Detach, and leave ``pact.json`` in the output folder."""
        preparation, history, self._began = self._preparation, self._history, False
        self._check_reference(state.global_step)
        self._detach()
        if preparation is None or history is None:
            return
        ledger = preparation.attachment.receipts
        if len(ledger):
            announce(
                f"{ledger.optimizer_steps} optimizer steps protected, {ledger.receipts} gradient receipts, "
                f"{ledger.response_tokens} response tokens"
            )
        segments = history.end(state.global_step, preparation)
        recorded = preparation.record(training_data(kwargs.get("train_dataloader"), preparation.rows.turns)[0])
        if preparation.drift_watch is not None:
            preparation.drift_watch.tell(state)
            recorded["drift_watch"] = preparation.drift_watch.record(state)
        if is_main_process() and args.output_dir:
            recorded["changed_settings"] = changed_settings(self.config)
            write_run_record(Path(args.output_dir), segments, preparation.safety_tokens, state.log_history, recorded)
            self._card.end(history.digest_if_unmoved)

    def write_card(self) -> None:
        """Write the section on PACT into the model card of the output folder, if there is one.

        The trainer's own ways to write a card do so by themselves, ``push_to_hub`` included; this is for code that
        writes it behind the trainer's back.
        """
        self._card.write()

    def _keep(self, state: TrainerState, *, saves: bool, digest: bool = True) -> None:
        """The checkpoint carries what was protected so far. Every rank must call it, with the same arguments.

        Args:
            saves: a checkpoint will, or may, be written before the next step.
            digest: take that of its weights now, so that no kill comes between; else it is taken once they are saved.
        """
        if self._preparation is None or self._history is None:
            return
        if saves and digest:
            self._history.before_save(state.global_step)
        segments = self._history.segments(state.global_step, self._preparation)
        keep(state, segments, self._preparation.progress() if saves else None)

    def _check_reference(self, step: int) -> None:
        if self._preparation is None or self._preparation.watch is None:
            return
        try:
            self._preparation.watch.check(step)
        except UnprotectedTrainingError:
            # The trainer tells nobody that it stops.
            self._detach()
            raise

    def _known_safety_tokens(self, args: TrainingArguments, *, resumed: bool, again: bool) -> SafetyTokens | None:
        """The tokens that need not be looked for: given, of the last training, or left by the run that is resumed."""
        if self._given_safety_tokens is not None or again:
            return self._given_safety_tokens or self._safety_tokens
        left = Path(args.output_dir or ".") / SAFETY_TOKENS_FILE
        if resumed and self.config.safety_tokens.file is None and left.is_file():
            return SafetyTokens.load(left)
        return None

    def _detach(self) -> None:
        if self._preparation is not None:
            self._preparation.attachment.detach()
            self._preparation = None
        if self._history is not None:
            self._history.watch.close()
