"""How well ``pact audit`` finds the poison of each scenario of the toy benchmark, of which the truth is known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pact_lab.compare.grid import Record, Run, read, write
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
    runs = [Run(seed, subject.identity, None, scenario) for scenario in distinct.values() for seed in seeds]
    kept = folder / "audits"
    records = {run.key: record for run in runs if (record := read(run, kept)) is not None}
    missing = [run for run in runs if run.key not in records]
    if missing:
        with quiet():
            model, tokenizer = subject.load()
            harmful, harmless = (
                read_rows(subject.common["safety_tokens"][f"{kind}_path"], key=kind) for kind in _PROMPTS
            )
            for run in missing:
                records[run.key] = write(run, kept, _detect(run, subject, model, tokenizer, harmful, harmless))
    return [records[run.key] for run in runs]


_PROMPTS = ("harmful_prompts", "harmless_prompts")


def _detect(
    run: Run, subject: TinySubject, model: Any, tokenizer: Any, harmful: Sequence[str], harmless: Sequence[str]
) -> dict[str, Any]:
    assert run.scenario is not None
    rows = subject.rows(run.scenario, run.seed)
    report = audit(
        model,
        tokenizer,
        rows,
        harmful_prompts=harmful,
        harmless_prompts=harmless,
        batch_size=64,
        progress=False,
    )
    truth = subject.poisoned(run.scenario, run.seed)
    scores = [0.0 if score is None else score for score in report.scores]
    return {"detection": detection(scores, truth, report.threshold.value).as_dict()}
