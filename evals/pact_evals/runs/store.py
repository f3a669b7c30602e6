"""The run folder: what an evaluation leaves behind, and what re-judging and reports read.

    run.json                        tasks, labels in the order they were asked for, package versions
    models/LABEL/results.json       identity, settings, metrics, task versions, judge and its revision
    models/LABEL/samples/TASK.jsonl id, category, prompt, response, metrics

A model is replaced as a whole: every file is written under a temporary name first, `results.json` takes its place last.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pact_evals.harness.evaluate import Metric, Sample
from pact_plugins.errors import PACTError
from pact_plugins.files import atomic_path, no_such_folder, parse_json, write_json
from pact_plugins.run_record import FILE_NAME as RECORD
from pact_plugins.visible import shortly

FORMAT = 1
# Where a model's own folder holds the run in which it was evaluated.
BESIDE_A_MODEL = "pact_eval"
_RUN, _RESULTS, _SAMPLES = "run.json", "results.json", "samples"


class RunError(PACTError, ValueError):
    """A run folder is missing, damaged, or does not hold what was asked of it."""


@dataclass(frozen=True)
class TaskResult:
    """Metrics and rows of one task. `judge` is the identity of the judge behind the verdicts, if there are any."""

    metrics: dict[str, Metric]
    samples: list[Sample]
    version: Any
    judge: dict[str, Any] | None = None


@dataclass(frozen=True)
class ModelResult:
    """Everything stored of one model.

    `identity` says what was evaluated (model, adapter, backend, weights), `settings` how, `requested` under which names
    of tasks and groups.
    """

    label: str
    identity: dict[str, Any]
    tasks: dict[str, TaskResult]
    settings: dict[str, Any] = field(default_factory=dict)
    requested: tuple[str, ...] = ()

    def plain_metrics(self) -> dict[str, Any]:
        """Of each task its rows and metrics, as in `results.json`."""
        return {name: _plain_task(task) for name, task in self.tasks.items()}


@dataclass(frozen=True)
class RunIndex:
    """What `run.json` says: requested tasks, labels in order, versions of the packages that took part."""

    tasks: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """A run folder and its models, in the order of its labels."""

    path: Path
    models: list[ModelResult]


def model_folder(run: Path, label: str) -> Path:
    """Where a model's files are.

    Raises:
        RunError: the label is no name of a file: a damaged run may not lead out of its folder.
    """
    if not isinstance(label, str) or label in ("", ".", "..") or set(label) & set("/\\\0"):
        raise RunError(f"{run}: {shortly(label)} is no label of a model")
    return run / "models" / label


def save_run(run: Path, *, tasks: Sequence[str], labels: Sequence[str], versions: Mapping[str, str]) -> None:
    """Write `run.json`."""
    content = {"format": FORMAT, "tasks": list(tasks), "labels": list(labels), "versions": dict(versions)}
    write_json(run / _RUN, content)


def save_model(run: Path, model: ModelResult) -> None:
    """Write a model's results and rows, all or nothing."""
    folder = model_folder(run, model.label)
    results = {
        "format": FORMAT,
        "label": model.label,
        "identity": model.identity,
        "settings": model.settings,
        "requested": list(model.requested),
        "tasks": {name: _plain_task(task) for name, task in model.tasks.items()},
    }
    texts = {folder / _RESULTS: json.dumps(results, indent=2, ensure_ascii=False, allow_nan=False) + "\n"}
    for name, task in model.tasks.items():
        texts[_samples_file(folder, name)] = _lines(task.samples)
    with ExitStack() as stack:  # it closes in reverse: every text is on the disk before the first takes its place
        for target, text in texts.items():
            stack.enter_context(atomic_path(target)).write_text(text, encoding="utf-8", errors="backslashreplace")
    for file in (folder / _SAMPLES).glob("*.jsonl"):
        if file not in texts:
            file.unlink()


def load_index(run: Path) -> RunIndex:
    """Read `run.json`.

    Raises:
        RunError: it is missing or damaged.
    """
    file = run / _RUN
    if not run.exists():
        raise RunError(f"{run}: {no_such_folder(str(run))}; `pact eval MODEL -o {run}` writes one")
    if not file.is_file():
        raise RunError(f"{run} is no run folder (no {_RUN} in it); {_instead_of(run)}")
    content = _read_json(file)
    try:
        return RunIndex(list(content["tasks"]), list(content["labels"]), dict(content["versions"]))
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{file} is damaged: {error!r}") from error


def _instead_of(folder: Path) -> str:
    found = sorted(file.parent for file in folder.glob(f"*/{_RUN}"))
    if found:
        return f"there are runs in it: {', '.join(map(str, found[:5]))}"
    if (folder / RECORD).is_file():
        return f"it is the output of a training: `pact eval aligned=MODEL trained={folder}` evaluates it"
    return f"`pact eval MODEL -o {folder}` writes one"


def run_in(folder: Path) -> Path:
    """The run folder that is meant: of a model's folder, the run beside the model."""
    inside = folder / BESIDE_A_MODEL
    return inside if not (folder / _RUN).exists() and (inside / _RUN).is_file() else folder


def load_run(run: Path) -> Run:
    """Read a run folder.

    Raises:
        RunError: it is none, or a file in it is missing or damaged.
    """
    return Run(run.resolve(), [load_model(run, label) for label in load_index(run).labels])


def load_model(run: Path, label: str) -> ModelResult:
    """Read one model of a run folder.

    Raises:
        RunError: a file is missing or damaged.
    """
    folder = model_folder(run, label)
    file = folder / _RESULTS
    content = _read_json(file)
    try:
        if content["label"] != label:
            raise ValueError(f"it is of {shortly(content['label'])}")
        return ModelResult(
            label=label,
            identity=dict(content["identity"]),
            tasks={name: _read_task(folder, name, task) for name, task in content["tasks"].items()},
            settings=dict(content["settings"]),
            requested=tuple(content["requested"]),
        )
    except RunError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunError(f"{file} is damaged: {error!r}") from error


def _plain_task(task: TaskResult) -> dict[str, Any]:
    metrics = {
        name: {
            "value": _finite(metric.value),
            "stderr": _finite(metric.stderr),
            "higher_is_better": metric.higher_is_better,
        }
        for name, metric in task.metrics.items()
    }
    return {"version": task.version, "judge": task.judge, "rows": len(task.samples), "metrics": metrics}


def _read_task(folder: Path, name: str, content: Mapping[str, Any]) -> TaskResult:
    metrics = {
        metric: Metric(_number(value["value"]), _finite(value["stderr"]), bool(value["higher_is_better"]))
        for metric, value in content["metrics"].items()
    }
    file = _samples_file(folder, name)
    samples = _read_samples(file)
    if len(samples) != content["rows"]:
        raise RunError(f"{file} holds {len(samples)} rows instead of {content['rows']}")
    return TaskResult(metrics, samples, content["version"], content["judge"])


def _lines(samples: Iterable[Sample]) -> str:
    rows = [
        {
            "id": sample.id,
            "category": sample.category,
            "prompt": sample.prompt,
            "response": sample.response,
            "metrics": {name: _finite(value) for name, value in sample.metrics.items()},
            **({"reason": sample.reason} if sample.reason else {}),
        }
        for sample in samples
    ]
    return "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)


def _read_samples(file: Path) -> list[Sample]:
    try:
        text = file.read_text(encoding="utf-8")
        rows = [parse_json(line) for line in text.split("\n") if line]
        return [
            Sample(
                **{name: _text(row[name]) for name in ("id", "category", "prompt")},
                response=None if row["response"] is None else _text(row["response"]),
                metrics={name: _number(value) for name, value in row["metrics"].items()},
                reason=_text(row.get("reason", "")),
            )
            for row in rows
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{file} cannot be read: {error!r}") from error


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = parse_json(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{file} cannot be read: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise RunError(f"{file} is not of this version's format ({FORMAT}); evaluate again")
    return content


def _samples_file(folder: Path, task: str) -> Path:
    # A harness task may have a slash in its name.
    return folder / _SAMPLES / f"{task.replace('/', '__')}.jsonl"


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{shortly(value)} is no text")
    return value


def _finite(value: float | None) -> float | None:
    """JSON has neither NaN nor infinity: a mean over no row is null."""
    return value if value is not None and math.isfinite(value) else None


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
