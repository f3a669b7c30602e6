"""Drift over steps, from the log of the training run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pact_evals.runs.store import ModelResult, RunError
from pact_plugins.files import parse_json

Curves = dict[str, list[tuple[int, float]]]


def read_logs(models: Sequence[ModelResult], given: Mapping[str, str]) -> dict[str, Curves]:
    """Model label to curves (`loss` and every `pact/...` metric) over steps.

    Logs that are not given are looked for in the model's or adapter's own folder.

    Raises:
        RunError: a given log is missing, is not a training log, or belongs to no model.
    """
    labels = {model.label for model in models}
    for label in given:
        if label not in labels:
            raise RunError(f"--log {label}=...: no such model; there are {', '.join(sorted(labels))}")
    logs = {}
    for model in models:
        path = Path(given[model.label]) if model.label in given else _find(model)
        if path is None:
            continue
        curves = read_curves(path)
        if curves:
            logs[model.label] = curves
        elif model.label in given:
            raise RunError(f"{path} logs neither a loss nor any pact/ metric")
    return logs


def read_curves(path: Path) -> Curves:
    """Curves of a `trainer_state.json`, or of JSON lines with a `step`.

    Raises:
        RunError: the file cannot be read as either.
    """
    try:
        text = path.read_text(encoding="utf-8")
        entries = (
            parse_json(text)["log_history"]
            if path.suffix == ".json"
            else [parse_json(line) for line in text.splitlines() if line.strip()]
        )
        return _curves(entries)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{path} is not a training log: {error!r}") from error


def _curves(entries: Sequence[Mapping[str, Any]]) -> Curves:
    curves: Curves = {}
    for entry in entries:
        for key, value in entry.items():
            if (key == "loss" or key.startswith("pact/")) and isinstance(value, int | float) and "step" in entry:
                curves.setdefault(key, []).append((int(entry["step"]), float(value)))
    return curves


def _find(model: ModelResult) -> Path | None:
    for place in (model.identity.get("adapter"), model.identity.get("model")):
        folder = Path(str(place)) if place else None
        if folder is None or not folder.is_dir():
            continue
        checkpoints = sorted(folder.glob("checkpoint-*/trainer_state.json"), key=lambda file: file.stat().st_mtime)
        for candidate in (folder / "trainer_state.json", *reversed(checkpoints)):
            if candidate.is_file():
                return candidate
    return None
