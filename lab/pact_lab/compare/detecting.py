"""How well ``pact audit`` finds the poison of each scenario of the tiny world, of which the truth is known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pact_lab.compare.grid import Cell, Record, read, write
from pact_lab.compare.scenario import Scenario
from pact_lab.compare.tiny_subject import TinySubject
from pact_lab.finetuning.quiet import quiet
from pact_plugins.audit import audit, detection
from pact_plugins.files import read_rows


def detect(scenarios: Sequence[Scenario], seeds: Sequence[int], subject: TinySubject, folder: Path) -> list[Record]:
    """Precision, recall and false positives for each poisoned scenario and seed; what is there already is read.

    Args:
        folder: ``folder/audits`` holds a file for each.
    """
    # Two scenarios that differ in training only have the same rows.
    distinct = {
        json.dumps([one.harmful_fraction, one.data, one.poison, one.tasks]): one
        for one in scenarios
        if one.harmful_fraction
    }
    cells = [Cell(seed, subject.identity, None, scenario) for scenario in distinct.values() for seed in seeds]
    kept = folder / "audits"
    records = {cell.key: record for cell in cells if (record := read(cell, kept)) is not None}
    missing = [cell for cell in cells if cell.key not in records]
    if missing:
        with quiet():
            model, tokenizer = subject.load()
            harmful, harmless = (
                read_rows(subject.common["safety_tokens"][f"{kind}_path"], key=kind) for kind in _PROMPTS
            )
            for cell in missing:
                records[cell.key] = write(cell, kept, _detect(cell, subject, model, tokenizer, harmful, harmless))
    return [records[cell.key] for cell in cells]


_PROMPTS = ("harmful_prompts", "harmless_prompts")


def _detect(
    cell: Cell, subject: TinySubject, model: Any, tokenizer: Any, harmful: Sequence[str], harmless: Sequence[str]
) -> dict[str, Any]:
    assert cell.scenario is not None
    rows = subject.rows(cell.scenario, cell.seed)
    report = audit(
        model,
        tokenizer,
        rows,
        harmful_prompts=harmful,
        harmless_prompts=harmless,
        batch_size=64,
        progress=False,
    )
    truth = subject.poisoned(cell.scenario, cell.seed)
    scores = [0.0 if score is None else score for score in report.scores]
    return {"detection": detection(scores, truth, report.threshold.value).as_dict()}
