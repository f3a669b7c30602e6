"""From evaluations to consequences: what has drifted since the start, when to stop, which checkpoint to keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerControl, TrainerState, TrainingArguments

from pact_plugins.drift_watch.measuring import KEPT_HIGH, DriftMeter
from pact_plugins.drift_watch.settings import DriftWatchSettings
from pact_plugins.messages import announce
from pact_plugins.modeling import ModelParts

DRIFT = "drift"
_PREFIX = "pact/"


def drift_between(start: Mapping[str, float], now: Mapping[str, float]) -> float:
    """The largest change for the worse in [0, 1].

    Fewer harmful prompts refused, or more of the others; behaviours shown, or agreed with, less often.
    """
    falls = {name for name in start if name.endswith("_harmful") or name.startswith(KEPT_HIGH)}
    losses = [start[name] - now[name] if name in falls else now[name] - start[name] for name in start]
    return max(0.0, *losses)


def start_in(log_history: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, float] | None:
    """What an earlier segment of the run measured before its first step; None where it measured something else."""
    for entry in log_history:
        found = {name: entry.get(f"{_PREFIX}{name}") for name in names}
        if entry.get("step") == 0 and all(isinstance(value, float) for value in found.values()):
            return {name: float(value) for name, value in found.items() if value is not None}
    return None


class DriftWatch:
    """Evaluates the model every few steps, and acts through the trainer's own flags and state.

    What it has to remember over a kill stands in the trainer's state: the start as the log's entry of step 0, the best
    checkpoint where the trainer keeps its own.

    Args:
        meter: what is asked.
        model_parts: the model in training.
        start: shares before the first step.
    """

    def __init__(
        self, settings: DriftWatchSettings, meter: DriftMeter, model_parts: ModelParts, start: Mapping[str, float]
    ) -> None:
        self.settings, self.start = settings, dict(start)
        self._meter, self._model_parts = meter, model_parts
        self._last: dict[str, float] | None = None
        self._unlogged: dict[str, float] = {}
        self._best: float | None = None
        self._stopped_at: int | None = None

    def begin(self, state: TrainerState) -> None:
        """Put the start into the trainer's log, and take up the best checkpoint of an earlier segment."""
        if start_in(state.log_history, list(self.start)) is None:
            entry: dict[str, Any] = {"epoch": 0.0, "step": 0, **_prefixed(self.start), f"{_PREFIX}{DRIFT}": 0.0}
            state.log_history.insert(0, entry)
        kept = state.best_model_checkpoint
        if self.settings.keep_best and kept is not None and Path(kept).is_dir():
            self._best = state.best_metric

    def is_due(self, state: TrainerState) -> bool:
        """Whether the step that has just ended is to be looked at."""
        return state.global_step % self.settings.every == 0 or state.global_step >= state.max_steps

    def evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl) -> None:
        """Measure, have it logged, and draw the consequences. Every rank must call it; all draw the same."""
        values = self._meter.measure(self._model_parts)
        drift = drift_between(self.start, values)
        self._last = self._unlogged = {**values, DRIFT: drift}
        control.should_log = True
        limit = self.settings.stop_if_drift
        if self.settings.keep_best:
            self._keep_if_best(drift, args, state, control)
        if limit is not None and drift > limit:
            self._stopped_at = state.global_step
            control.should_training_stop = True
            announce(
                f"drift {drift:.2f} at step {state.global_step} is more than stop_if_drift ({limit}): training stops. "
                f"{self._summary(values)}"
            )

    def _keep_if_best(
        self, drift: float, args: TrainingArguments, state: TrainerState, control: TrainerControl
    ) -> None:
        """Below the limit every evaluation is as good as another, and the later one has learnt more."""
        excess = round(max(0.0, drift - (self.settings.stop_if_drift or 0.0)), 2)
        if self._best is not None and excess > self._best:
            return
        self._best = state.best_metric = excess
        state.best_global_step = state.global_step
        # Before the trainer saves: it protects what stands here when it removes older checkpoints.
        state.best_model_checkpoint = str(Path(args.output_dir or ".") / f"checkpoint-{state.global_step}")
        control.should_save = True

    def take_unlogged(self) -> dict[str, float]:
        """The last evaluation's values with ``pact/`` before their names, once."""
        values, self._unlogged = self._unlogged, {}
        return _prefixed(values)

    def record(self, state: TrainerState) -> dict[str, Any]:
        """For ``pact.json``."""
        best = state.best_model_checkpoint if self.settings.keep_best else None
        return {
            "start": self.start,
            "last": self._last,
            "stopped_at": self._stopped_at,
            "best_checkpoint": None if best is None else Path(best).name,
        }

    def tell(self, state: TrainerState) -> None:
        """One line at the end of training."""
        if self._last is None:
            return
        best = self.record(state)["best_checkpoint"]
        kept = "" if best is None else f"; best checkpoint: {best}"
        announce(f"drift {self._last[DRIFT]:.2f} since the start. {self._summary(self._last)}{kept}")

    def _summary(self, values: Mapping[str, float]) -> str:
        told = [f"{name.replace('_', ' ')} {self.start[name]:.2f} -> {values[name]:.2f}" for name in self.start]
        return ", ".join(told)


def _prefixed(values: Mapping[str, float]) -> dict[str, float]:
    return {f"{_PREFIX}{name}": value for name, value in values.items()}
