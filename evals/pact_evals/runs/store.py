"""What lm-eval left in a folder, its own files: `lm_eval --output_path FOLDER --log_samples`, or `pact eval -o FOLDER`.

    FOLDER/MODEL/results_DATE.json          lm-eval's: metrics, settings, task versions
    FOLDER/MODEL/samples_TASK_DATE.jsonl    lm-eval's: prompts, answers, verdicts of the task's own judge
    FOLDER/MODEL/verdicts_TASK_DATE.jsonl   of another judge: `pact judge`

`pact eval` adds the key `pact` to the results: the model's label, and what its weights and settings were.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pact_evals.harness.evaluate import Metric, Sample, read_metrics, read_samples
from pact_evals.runs.secrets import without_secrets
from pact_evals.runs.verdicts import judged, verdicts_file
from pact_plugins.errors import PACTError
from pact_plugins.files import no_such_folder, parse_json
from pact_plugins.run_record import FILE_NAME as RECORD

_LOGGER = logging.getLogger(__name__)
# Where a model's own folder holds the run in which it was evaluated.
BESIDE_A_MODEL = "pact_eval"
_RESULTS = re.compile(r".+_(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d(?:\.\d+)?)\.json")
_MODEL_KEYS = ("pretrained", "model", "path", "engine")
_ADAPTER_KEYS = ("peft", "lora_local_path", "delta")


class RunError(PACTError, ValueError):
    """A run folder is missing, damaged, or does not hold what was asked of it."""


class DamagedRunError(RunError):
    """A file of a run cannot be read, or is not whole."""


@dataclass(frozen=True)
class TaskResult:
    """Metrics and rows of one task.

    `judge` is the identity of the judge behind the verdicts, if there are any, `generation` how answers were asked for,
    `file` where the rows are.
    """

    metrics: dict[str, Metric]
    samples: list[Sample]
    version: Any
    judge: dict[str, Any] | None = None
    generation: dict[str, Any] | None = None
    file: Path | None = field(default=None, compare=False)


@dataclass(frozen=True)
class ModelResult:
    """Everything stored of one model.

    `identity` says what was evaluated (model, adapter, backend, weights), `settings` how, `requested` under which names
    of tasks and groups, `date` when, in seconds since 1970.
    """

    label: str
    identity: dict[str, Any]
    tasks: dict[str, TaskResult]
    settings: dict[str, Any] = field(default_factory=dict)
    requested: tuple[str, ...] = ()
    date: float = 0.0

    def plain_metrics(self) -> dict[str, Any]:
        """Of each task its rows and metrics, for JSON."""
        return {
            name: {
                "version": task.version,
                "judge": task.judge,
                "rows": len(task.samples),
                "metrics": {
                    metric: {"value": one.value, "stderr": one.stderr, "higher_is_better": one.higher_is_better}
                    for metric, one in task.metrics.items()
                },
            }
            for name, task in self.tasks.items()
        }


@dataclass(frozen=True)
class _Evaluation:
    """One results file."""

    file: Path
    date: str
    content: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Whose it is: `pact eval`'s label, or the model's name as lm-eval knows it."""
        ours = self.content.get("pact")
        return str(ours["label"] if ours else self.content.get("model_name") or self.file.parent.name)

    def model(self) -> ModelResult:
        """Without its rows, which `with_tasks` reads."""
        settings = _settings(self.content)
        ours = self.content.get("pact") or {}
        identity = dict(ours.get("identity") or _identity(self.content["config"]))
        return ModelResult(
            label=self.name,
            identity={**identity, "lm_eval": self.content.get("lm_eval_version")},
            tasks={},
            settings={**settings, **(ours.get("settings") or {})},
            requested=tuple(ours.get("requested") or ()),
            date=float(self.content.get("date") or 0.0),
        )

    def task(self, name: str) -> TaskResult:
        """Metrics and rows of one task, under the verdicts of the judge that was asked last."""
        file = self.file.with_name(f"samples_{name}_{self.date}.jsonl")
        samples = _read_samples(file, name, self.content)
        config = self.content["configs"][name]
        result = TaskResult(
            metrics=read_metrics(self.content["results"][name], self.content["higher_is_better"][name]),
            samples=samples,
            version=self.content["versions"].get(name),
            judge=(config.get("metadata") or {}).get("judge"),
            generation=config.get("generation_kwargs"),
            file=file,
        )
        try:
            again = judged(result.samples, result.metrics, verdicts_file(file))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DamagedRunError(f"{verdicts_file(file)} cannot be read: {error!r}") from error
        return (
            result
            if again is None
            else replace(result, metrics=again.metrics, samples=again.samples, judge=again.judge)
        )


def load_run(path: Path) -> list[ModelResult]:
    """The models that were evaluated into a folder, in the order of their first evaluations.

    Of each model the newest result of every task counts, as long as weights and settings were the same.

    Raises:
        RunError: there is nothing of lm-eval's in it. DamagedRunError: a file is, or holds no rows.
    """
    folder = _run_in(path)
    models: dict[str, ModelResult] = {}
    places: dict[str, dict[str, _Evaluation]] = {}
    for evaluation in _evaluations(folder):
        try:
            new, tasks = evaluation.model(), dict.fromkeys(evaluation.content["configs"], evaluation)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DamagedRunError(f"{evaluation.file} is damaged: {error!r}") from error
        old = models.get(new.label)
        if old is not None and is_same(old, new):
            requested = tuple(dict.fromkeys([*old.requested, *new.requested]))
            models[new.label] = replace(new, requested=requested)
            places[new.label].update(tasks)
        else:
            models[new.label], places[new.label] = new, tasks
    if not models:
        raise RunError(_why_no_run(path, folder))
    found = [replace(model, tasks=_read_tasks(places[label])) for label, model in models.items()]
    return [replace(model, label=label) for model, label in zip(found, _short([*models]), strict=True)]


def is_same(left: ModelResult, right: ModelResult) -> bool:
    """Whether both are of the same weights, evaluated in the same way: their tasks may stand side by side."""
    return comparable(left.identity) == comparable(right.identity) and left.settings == right.settings


def comparable(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Where a model lies and which lm-eval ran it does not make it another one, where its weights are known."""
    left_out = {"lm_eval", *(("model", "adapter") if identity.get("weights") else ())}
    plain: dict[str, Any] = json.loads(json.dumps(dict(identity), default=str))
    return {key: value for key, value in plain.items() if key not in left_out}


def _evaluations(folder: Path) -> Iterator[_Evaluation]:
    """In the order of their dates. An older file that is damaged has been evaluated again since."""
    dated = [
        (found[1], file)
        for file in (*folder.glob("*.json"), *folder.glob("*/*.json"))
        if (found := _RESULTS.fullmatch(file.name))
    ]
    newest = {file.parent: file for _, file in sorted(dated)}
    for date, file in sorted(dated):
        try:
            content = parse_json(file.read_text(encoding="utf-8"))
            if not isinstance(content, dict) or not {"results", "configs", "config"} <= set(content):
                raise ValueError("these are no results of lm-eval")
        except (OSError, ValueError) as error:
            if file == newest[file.parent]:
                raise DamagedRunError(f"{file} cannot be read: {error}") from error
            _LOGGER.warning("%s cannot be read: %s", file, error)
            continue
        yield _Evaluation(file, date, content)


def _read_tasks(places: Mapping[str, _Evaluation]) -> dict[str, TaskResult]:
    tasks = {}
    for name, evaluation in places.items():
        try:
            tasks[name] = evaluation.task(name)
        except RunError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DamagedRunError(f"{evaluation.file} is damaged: {name}: {error!r}") from error
    return tasks


def _read_samples(file: Path, task: str, content: Mapping[str, Any]) -> list[Sample]:
    try:
        text = file.read_text(encoding="utf-8")
        samples = read_samples(task, [parse_json(line) for line in text.split("\n") if line])
    except FileNotFoundError:
        raise DamagedRunError(f"{file.name} is not beside {file.parent}: run lm_eval with --log_samples") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise DamagedRunError(f"{file} cannot be read: {error!r}") from error
    expected = (content.get("n-samples") or {}).get(task, {}).get("effective", len(samples))
    if len(samples) != expected:
        raise DamagedRunError(f"{file} holds {len(samples)} rows instead of {expected}")
    return samples


def _identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """Of the stock command, which knows no weights: what it was told to load."""
    given = config.get("model_args") or {}
    if isinstance(given, str):
        given = dict(part.partition("=")[::2] for part in given.split(",") if part)
    arguments = {key: value for key, value in given.items() if key not in (*_MODEL_KEYS, *_ADAPTER_KEYS)}
    return {
        "model": next((str(given[key]) for key in _MODEL_KEYS if given.get(key)), None),
        "adapter": next((str(given[key]) for key in _ADAPTER_KEYS if given.get(key)), None),
        "backend": config.get("model"),
        "arguments": without_secrets(arguments),
        "weights": config.get("model_sha") or None,
    }


def _settings(content: Mapping[str, Any]) -> dict[str, Any]:
    """How it was evaluated: what has to be the same where two models are compared."""
    counts = [one for one in (content.get("n-samples") or {}).values() if one["effective"] < one["original"]]
    limit = content["config"].get("limit")
    return {
        "limit": limit if limit is not None or not counts else min(one["effective"] for one in counts),
        "chat_template": content.get("chat_template_sha"),
        "system_instruction": content.get("system_instruction_sha"),
    }


def _short(names: list[str]) -> list[str]:
    """The last part of each path or hub id, where that tells them apart."""
    short = [Path(name).name or name for name in names]
    return short if len(set(short)) == len(short) else names


def _run_in(folder: Path) -> Path:
    """The run folder that is meant: of a model's folder, the run beside the model."""
    inside = folder / BESIDE_A_MODEL
    return (
        inside
        if inside.is_dir() and not any(_RESULTS.fullmatch(file.name) for file in folder.glob("*.json"))
        else folder
    )


def _why_no_run(path: Path, folder: Path) -> str:
    if not path.exists():
        return f"{path}: {no_such_folder(str(path))}; `pact eval MODEL -o {path}` writes one"
    below = (*folder.glob("*/*/*.json"), *folder.glob("*/*/*/*.json"))
    deeper = sorted({file.parent.parent for file in below if _RESULTS.fullmatch(file.name)})
    if deeper:
        instead = f"there are runs in it: {', '.join(map(str, deeper[:5]))}"
    elif (path / RECORD).is_file():
        instead = f"it is the output of a training: `pact eval aligned=MODEL trained={path}` evaluates it"
    else:
        instead = f"`pact eval MODEL -o {path}` writes one, or lm_eval with --output_path {path} --log_samples"
    return f"{path} is no run folder (no results_*.json of lm-eval in it); {instead}"
