"""The grid from start to end: what is finished is read, the rest is trained, evaluated and kept cell by cell."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm
from transformers import set_seed

from pact_plugins.methods import TransformContext
from pact_trl.compare.grid import Cell, Record, read, write
from pact_trl.compare.subject import Subject, refusals_of
from pact_trl.demo.finetuning import train
from pact_trl.demo.runner import quiet

# An evaluation takes about as long as this many training steps.
EVALUATION_STEPS = 50


def run(cells: Sequence[Cell], subject: Subject, folder: Path) -> list[Record]:
    """The records of all cells, in order; those that are not there yet are made.

    Args:
        folder: ``folder/cells`` holds a file a cell, ``folder/calibration`` what is found once a model.
    """
    kept = folder / "cells"
    records = {cell.key: record for cell in cells if (record := read(cell, kept)) is not None}
    missing = [cell for cell in cells if cell.key not in records]
    # Wrong settings must not surface after an hour of training.
    for cell in missing:
        if cell.method is not None:
            cell.method.config(subject.common)
    with (
        quiet(),
        tqdm(
            total=sum(_size(cell, subject) for cell in missing), unit="it", dynamic_ncols=True, disable=not missing
        ) as bar,
    ):
        for number, cell in enumerate(missing, start=1):
            bar.set_description(f"{number}/{len(missing)} {cell.label}")
            records[cell.key] = write(cell, kept, run_cell(cell, subject, folder / "calibration", bar))
    return [records[cell.key] for cell in cells]


def run_cell(cell: Cell, subject: Subject, calibration: Path, bar: Any) -> dict[str, Any]:
    """Train, unless it is the aligned model's cell, and evaluate."""
    model, tokenizer = subject.load()
    training: dict[str, Any] = {}
    finished = bar.n + _size(cell, subject)
    if cell.method is not None and cell.scenario is not None:
        model, training = _trained(cell, subject, calibration, model, tokenizer, bar)
    started = time.perf_counter()
    outcome = subject.evaluate(model, tokenizer, cell.seed, cell.scenario)
    bar.update(max(0, finished - bar.n))
    return {**outcome, **training, "evaluation_seconds": round(time.perf_counter() - started, 2), **_versions()}


def _trained(
    cell: Cell, subject: Subject, calibration: Path, model: Any, tokenizer: Any, bar: Any
) -> tuple[Any, dict[str, Any]]:
    assert cell.method is not None
    assert cell.scenario is not None
    rows = subject.rows(cell.scenario, cell.seed)
    if cell.method.transform is not None:
        context = TransformContext(refusals_of(subject, calibration), random.Random(cell.seed))
        rows = cell.method.transform(rows, context)
    # An adapter is initialised before the trainer seeds anything, and a resumed grid must give the same cells.
    set_seed(cell.seed)
    with tempfile.TemporaryDirectory() as output:
        trainer, seconds = train(
            model,
            tokenizer,
            rows,
            cell.method.config(subject.common),
            cell.scenario.tuning,
            seed=cell.seed,
            output_path=Path(output),
            advance=bar.update,
        )
    trained = trainer.model
    if hasattr(trained, "merge_and_unload"):
        trained = trained.merge_and_unload()
    return trained, {"rows": len(rows), "train_seconds": round(seconds, 2)}


def _size(cell: Cell, subject: Subject) -> int:
    steps = 0 if cell.scenario is None else cell.scenario.tuning.steps(subject.row_count)
    return EVALUATION_STEPS + steps


def _versions() -> dict[str, Any]:
    return {"versions": {name: version(name) for name in ("pact-plugins", "torch", "transformers", "trl", "peft")}}
