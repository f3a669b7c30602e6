"""The models of several runs under distinct labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pact_evals.runs.store import ModelResult, RunError, load_run


def gather(paths: Sequence[Path]) -> list[ModelResult]:
    """All models in the order given; a label that two runs share gets its run folder's name in front."""
    runs = [(path.resolve(), load_run(path)) for path in paths]
    counts = Counter(model.label for _, found in runs for model in found)
    models = [
        replace(model, label=f"{path.name}/{model.label}") if counts[model.label] > 1 else model
        for path, found in runs
        for model in found
    ]
    labels = [model.label for model in models]
    if len(set(labels)) < len(labels):
        raise RunError(f"the runs hold models of the same name: {', '.join(sorted(labels))}; evaluate with LABEL=PATH")
    return models
