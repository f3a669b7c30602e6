"""The grid from start to end: what is finished is read, the rest is trained, evaluated and kept one by one."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm
from transformers import set_seed

from pact_lab.compare.grid import Record, Run, read, write
from pact_lab.compare.subject import Subject, refusals_of
from pact_lab.finetuning.quiet import quiet
from pact_lab.finetuning.training import Training, train
from pact_lab.methods import configured
from pact_plugins.contracts import CallbackContext, Row, TransformContext

# An evaluation takes about as long as this many training steps.
EVALUATION_STEPS = 50


def run_all(runs: Sequence[Run], subject: Subject, folder: Path, *, models: Path | None = None) -> list[Record]:
    """The records of all runs, in order; those that are not there yet are made.

    Args:
        folder: ``folder/runs`` holds a file a run, ``folder/calibration`` what is found once a model.
        models: where each trained model is left, as METHOD-seedN; None keeps none.
    """
    kept = folder / "runs"
    records = {run.key: record for run in runs if (record := read(run, kept)) is not None}
    missing = [run for run in runs if run.key not in records]
    # Wrong settings must not surface after an hour of training.
    for run in missing:
        if run.method is not None:
            configured(run.method, subject.common)
    total = sum(_size(run, subject) for run in missing)
    with quiet(), tqdm(total=total, unit="it", dynamic_ncols=True, disable=not missing) as bar:
        for number, run in enumerate(missing, start=1):
            bar.set_description(f"{number}/{len(missing)} {run.label}")
            finished = bar.n + _size(run, subject)
            records[run.key] = write(
                run, kept, train_and_evaluate(run, subject, folder / "calibration", bar.update, models)
            )
            bar.update(max(0, finished - bar.n))
    return [records[run.key] for run in runs]


def train_and_evaluate(
    run: Run, subject: Subject, calibration: Path, advance: Callable[[], Any], models: Path | None
) -> dict[str, Any]:
    """Train, unless it is the aligned model's run, and evaluate."""
    model, tokenizer = subject.load()
    training: dict[str, Any] = {}
    if run.method is not None and run.scenario is not None:
        rows = _rows(run, subject, calibration)
        with _output_folder(run, models) as output:
            config, more = configured(run.method, subject.common), _callbacks(run, subject, calibration, tokenizer)
            model, training = _trained(
                model, tokenizer, Training(rows, config, run.scenario.tuning, run.seed, output, more), advance
            )
            if models is None:
                del training["log"]
    started = time.perf_counter()
    outcome = subject.evaluate(model, tokenizer, run.seed, run.scenario)
    return {**outcome, **training, "evaluation_seconds": round(time.perf_counter() - started, 2), **_versions()}


def _rows(run: Run, subject: Subject, calibration: Path) -> list[Row]:
    assert run.method is not None
    assert run.scenario is not None
    rows = subject.rows(run.scenario, run.seed)
    if run.method.transform is None:
        return rows
    return run.method.transform(rows, TransformContext(refusals_of(subject, calibration), random.Random(run.seed)))


def _callbacks(run: Run, subject: Subject, calibration: Path, tokenizer: Any) -> Sequence[Any]:
    if run.method is None or run.method.callbacks is None:
        return ()
    return run.method.callbacks(CallbackContext(tokenizer, refusals_of(subject, calibration), run.seed))


@contextmanager
def _output_folder(run: Run, models: Path | None) -> Iterator[Path]:
    if models is not None:
        yield models / f"{run.method_name}-seed{run.seed}"
        return
    with tempfile.TemporaryDirectory() as output:
        yield Path(output)


def _trained(model: Any, tokenizer: Any, training: Training, advance: Callable[[], Any]) -> tuple[Any, dict[str, Any]]:
    # An adapter is initialised before the trainer seeds anything, and a resumed grid must give the same runs.
    set_seed(training.seed)
    trainer, seconds = train(model, tokenizer, training, advance)
    trainer.save_model()
    trained = trainer.model
    if hasattr(trained, "merge_and_unload"):
        trained = trained.merge_and_unload()
    log = trainer.state.log_history
    return trained, {"rows": len(training.rows), "train_seconds": round(seconds, 2), "log": log}


def _size(run: Run, subject: Subject) -> int:
    steps = 0 if run.scenario is None else run.scenario.tuning.steps(subject.row_count)
    return EVALUATION_STEPS + steps


def _versions() -> dict[str, Any]:
    return {"versions": {name: version(name) for name in ("pact-plugins", "torch", "transformers", "trl", "peft")}}
