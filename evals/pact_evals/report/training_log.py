"""Drift over steps, from the log of the training run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pact_evals.runs.store import ModelResult, RunError
from pact_plugins.files import parse_json
from pact_plugins.run_record import TRAINER_STATE_FILE, checkpoints_in

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
        path = _log_of(Path(given[model.label]), model.label) if model.label in given else _find(model)
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
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{path} is not a training log: it holds neither log_history nor JSON lines") from error


def _curves(entries: Sequence[Mapping[str, Any]]) -> Curves:
    curves: Curves = {}
    for entry in entries:
        for key, value in entry.items():
            if (key == "loss" or key.startswith("pact/")) and isinstance(value, int | float) and "step" in entry:
                curves.setdefault(key, []).append((int(entry["step"]), float(value)))
    return curves


def _find(model: ModelResult) -> Path | None:
    for place in (model.identity.get("adapter"), model.identity.get("model")):
        found = _in_folder(Path(str(place))) if place else None
        if found is not None:
            return found
    return None


def _log_of(path: Path, label: str) -> Path:
    """The log itself, or the one in a run's folder; a file that is not there may lie in a checkpoint beside it."""
    if path.is_file():
        return path
    found = _in_folder(path) or (_in_folder(path.parent) if path.name == TRAINER_STATE_FILE else None)
    if found is not None:
        return found
    if path.is_dir():
        raise RunError(f"--log {label}={path}: no trainer_state.json in this folder, and none in a checkpoint-N of it")
    raise RunError(f"--log {label}={path}: no such file or folder; give the run's output folder")


def _in_folder(folder: Path) -> Path | None:
    """`trainer_state.json` of a run's folder, or of its newest checkpoint: TRL and Axolotl write it there alone."""
    if not folder.is_dir():
        return None
    places = (folder, *reversed(checkpoints_in(folder)))
    return next((file for place in places if (file := place / TRAINER_STATE_FILE).is_file()), None)
