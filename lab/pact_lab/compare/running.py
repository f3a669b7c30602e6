"""The grid from start to end: what is finished is read, the rest is trained, evaluated and kept cell by cell."""

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

from pact_lab.compare.grid import Cell, Record, read, write
from pact_lab.compare.subject import Subject, refusals_of
from pact_lab.finetuning.quiet import quiet
from pact_lab.finetuning.training import Training, train
from pact_lab.methods import configured
from pact_plugins.contracts import CallbackContext, Row, TransformContext

# An evaluation takes about as long as this many training steps.
EVALUATION_STEPS = 50


def run(cells: Sequence[Cell], subject: Subject, folder: Path, *, models: Path | None = None) -> list[Record]:
    """The records of all cells, in order; those that are not there yet are made.

    Args:
        folder: ``folder/cells`` holds a file a cell, ``folder/calibration`` what is found once a model.
        models: where each trained model is left, as METHOD-seedN; None keeps none.
    """
    kept = folder / "cells"
    records = {cell.key: record for cell in cells if (record := read(cell, kept)) is not None}
    missing = [cell for cell in cells if cell.key not in records]
    # Wrong settings must not surface after an hour of training.
    for cell in missing:
        if cell.method is not None:
            configured(cell.method, subject.common)
    total = sum(_size(cell, subject) for cell in missing)
    with quiet(), tqdm(total=total, unit="it", dynamic_ncols=True, disable=not missing) as bar:
        for number, cell in enumerate(missing, start=1):
            bar.set_description(f"{number}/{len(missing)} {cell.label}")
            finished = bar.n + _size(cell, subject)
            records[cell.key] = write(cell, kept, run_cell(cell, subject, folder / "calibration", bar.update, models))
            bar.update(max(0, finished - bar.n))
    return [records[cell.key] for cell in cells]


def run_cell(
    cell: Cell, subject: Subject, calibration: Path, advance: Callable[[], Any], models: Path | None
) -> dict[str, Any]:
    """Train, unless it is the aligned model's cell, and evaluate."""
    model, tokenizer = subject.load()
    training: dict[str, Any] = {}
    if cell.method is not None and cell.scenario is not None:
        rows = _rows(cell, subject, calibration)
        with _output_folder(cell, models) as output:
            config, more = configured(cell.method, subject.common), _callbacks(cell, subject, calibration, tokenizer)
            model, training = _trained(
                model, tokenizer, Training(rows, config, cell.scenario.tuning, cell.seed, output, more), advance
            )
            if models is None:
                del training["log"]
    started = time.perf_counter()
    outcome = subject.evaluate(model, tokenizer, cell.seed, cell.scenario)
    return {**outcome, **training, "evaluation_seconds": round(time.perf_counter() - started, 2), **_versions()}


def _rows(cell: Cell, subject: Subject, calibration: Path) -> list[Row]:
    assert cell.method is not None
    assert cell.scenario is not None
    rows = subject.rows(cell.scenario, cell.seed)
    if cell.method.transform is None:
        return rows
    return cell.method.transform(rows, TransformContext(refusals_of(subject, calibration), random.Random(cell.seed)))


def _callbacks(cell: Cell, subject: Subject, calibration: Path, tokenizer: Any) -> Sequence[Any]:
    if cell.method is None or cell.method.callbacks is None:
        return ()
    return cell.method.callbacks(CallbackContext(tokenizer, refusals_of(subject, calibration), cell.seed))


@contextmanager
def _output_folder(cell: Cell, models: Path | None) -> Iterator[Path]:
    if models is not None:
        yield models / f"{cell.method_name}-seed{cell.seed}"
        return
    with tempfile.TemporaryDirectory() as output:
        yield Path(output)


def _trained(model: Any, tokenizer: Any, training: Training, advance: Callable[[], Any]) -> tuple[Any, dict[str, Any]]:
    # An adapter is initialised before the trainer seeds anything, and a resumed grid must give the same cells.
    set_seed(training.seed)
    trainer, seconds = train(model, tokenizer, training, advance)
    trainer.save_model()
    trained = trainer.model
    if hasattr(trained, "merge_and_unload"):
        trained = trained.merge_and_unload()
    log = trainer.state.log_history
    return trained, {"rows": len(training.rows), "train_seconds": round(seconds, 2), "log": log}


def _size(cell: Cell, subject: Subject) -> int:
    steps = 0 if cell.scenario is None else cell.scenario.tuning.steps(subject.row_count)
    return EVALUATION_STEPS + steps


def _versions() -> dict[str, Any]:
    return {"versions": {name: version(name) for name in ("pact-plugins", "torch", "transformers", "trl", "peft")}}
