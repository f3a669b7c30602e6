"""Runs lm-eval in this process, on a checkpoint or on a model in memory, with our task folder and chat templates set.

One call of lm-eval does all tasks of a model, as the stock command would, so both give the same numbers.
"""

from __future__ import annotations

import importlib
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pact_evals.harness.listing import resolve_tasks, task_manager
from pact_evals.harness.quiet import undisturbed
from pact_plugins.errors import PACTError

# Our types of models beside lm-eval's own.
CHAT, COMPLETIONS, OPENAI_CHAT = "pact-chat-completions", "pact-completions", "pact-openai-chat-completions"


class EvaluationError(PACTError, RuntimeError):
    """A model could not be evaluated."""


@dataclass(frozen=True)
class Metric:
    """A task's metric: mean over its rows, standard error of that mean, and which direction is better."""

    value: float
    stderr: float | None
    higher_is_better: bool


@dataclass(frozen=True)
class Sample:
    """One row of a task: its id and category, what was asked and answered (None for log-likelihoods), its metrics.

    `reason` is what a judge said of it, if it was judged again; `asked` a digest of the prompt as the model was given
    it, with the chat template around it.
    """

    id: str
    category: str
    prompt: str
    response: str | None
    metrics: dict[str, float]
    reason: str = ""
    asked: str = field(default="", compare=False)


@dataclass(frozen=True)
class Evaluation:
    """All metrics and rows of one model."""

    metrics: dict[str, dict[str, Metric]]
    samples: dict[str, list[Sample]]

    def value(self, task: str, metric: str) -> float:
        """A metric's mean."""
        return self.metrics[task][metric].value


@dataclass(frozen=True)
class Save:
    """Where lm-eval's files go: `folder/label`; `about` stands in them beside the label."""

    folder: Path
    label: str
    about: Mapping[str, Any]


def evaluate_checkpoint(
    backend: str,
    model_args: Mapping[str, Any],
    tasks: Sequence[str],
    *,
    apply_chat_template: bool = True,
    batch_size: int | str = 16,
    device: str | None = None,
    limit: int | None = None,
    generation: Mapping[str, Any] | None = None,
    task_settings: Mapping[str, Any] | None = None,
    cache: str | None = None,
    save: Save | None = None,
) -> Evaluation:
    """Evaluate what an lm-eval backend (`hf`, `vllm`, ...) loads from `model_args`.

    Args:
        tasks: names of tasks or groups. limit: rows of each task, for trials.
        generation: overrides of the tasks' generation settings, such as `max_gen_toks`.
        task_settings: metadata for the tasks, such as `prompts` and `seed` of a toy benchmark's.
        cache: lm-eval's response cache; an interrupted run goes on from it.
        save: where lm-eval's own files go.

    Raises:
        UnknownTaskError: a task that does not exist. DatasetUnavailableError: a data set out of reach.
        EvaluationError: lm-eval or the backend failed.
    """
    return _run(
        model=backend,
        model_args=dict(model_args),
        tasks=tasks,
        task_settings=task_settings,
        apply_chat_template=apply_chat_template,
        batch_size=batch_size,
        device=device or _default_device(backend),
        limit=limit,
        gen_kwargs=dict(generation) if generation else None,
        use_cache=cache,
        save=save,
    )


def evaluate_model(
    model: Any,
    tokenizer: Any,
    tasks: Sequence[str],
    *,
    apply_chat_template: bool = True,
    batch_size: int = 32,
    limit: int | None = None,
    task_settings: Mapping[str, Any] | None = None,
    generation: Mapping[str, Any] | None = None,
) -> Evaluation:
    """Evaluate a model in memory through lm-eval's `HFLM`. Modes of its modules and random-number states are restored.

    The numbers are those of `pact eval` and of the stock command on the same weights, dtype and batch size.
    """
    from lm_eval.models.huggingface import HFLM

    modes = [(module, module.training) for module in model.modules()]
    try:
        wrapped = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size, device=str(model.device))
        return _run(
            model=wrapped,
            model_args=None,
            tasks=tasks,
            task_settings=task_settings,
            apply_chat_template=apply_chat_template,
            batch_size=batch_size,
            device=None,
            limit=limit,
            gen_kwargs=dict(generation) if generation else None,
            use_cache=None,
        )
    finally:
        for module, training in modes:
            module.training = training


def _default_device(backend: str) -> str | None:
    """lm-eval's `hf` backend assumes a GPU when it is told nothing; other backends choose for themselves."""
    if backend != "hf":
        return None
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _run(
    *, tasks: Sequence[str], task_settings: Mapping[str, Any] | None, save: Save | None = None, **settings: Any
) -> Evaluation:
    import lm_eval
    from lm_eval.loggers import EvaluationTracker

    if settings["model"] in (CHAT, COMPLETIONS, OPENAI_CHAT):
        importlib.import_module("pact_evals.harness.endpoints")  # registers them
    names = resolve_tasks(tasks)
    manager = task_manager(names, metadata={**(settings["model_args"] or {}), **(task_settings or {})})
    tracker = None if save is None else EvaluationTracker(output_path=str(save.folder))
    with _random_state_kept(), undisturbed():
        try:
            results = lm_eval.simple_evaluate(
                tasks=list(names), task_manager=manager, log_samples=True, evaluation_tracker=tracker, **settings
            )
        except PACTError:
            raise
        except Exception as error:  # the backends raise many kinds, and no model may take the others with it
            raise EvaluationError(f"{type(error).__name__}: {_first_line(error)}") from error
    if results is None:
        return Evaluation({}, {})  # not the first rank of a distributed run
    found = _read_results(results)
    if save is not None:
        _save(results, tracker, save)
    return found


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0]


def _save(results: Any, tracker: Any, save: Save) -> None:
    """As the stock command does it, in a folder of the model's label, with a word of ours on whose results they are."""
    samples = results.pop("samples")
    # lm-eval's report on the environment is left out, which takes seconds; these two of it are read.
    versions = {f"{name}_version": version(name.replace("_", "-")) for name in ("lm_eval", "transformers")}
    results.update({**versions, "pact": {"label": save.label, **save.about}})
    tracker.general_config_tracker.model_name_sanitized = save.label
    tracker.save_results_aggregated(results=results, samples=samples)
    for task in results["configs"]:
        tracker.save_results_samples(task_name=task, samples=samples[task])


def _read_results(results: Mapping[str, Any]) -> Evaluation:
    metrics = {
        task: read_metrics(results["results"][task], results["higher_is_better"][task]) for task in results["samples"]
    }
    samples = {task: read_samples(task, rows) for task, rows in results["samples"].items()}
    return Evaluation(metrics, samples)


def read_metrics(values: Mapping[str, Any], directions: Mapping[str, bool | None]) -> dict[str, Metric]:
    """Metrics as lm-eval names them, `metric,filter`; the filter `none` is left out, as all our tasks have it."""
    metrics = {}
    for key, value in values.items():
        name, separator, kind = key.partition(",")
        if not separator or name.endswith("_stderr") or not isinstance(value, int | float):
            continue
        stderr = values.get(f"{name}_stderr,{kind}")
        metrics[_metric_name(name, kind)] = Metric(
            value=float(value),
            stderr=float(stderr) if isinstance(stderr, int | float) else None,
            higher_is_better=directions.get(name) is not False,
        )
    return metrics


def read_samples(task: str, rows: Iterable[Mapping[str, Any]]) -> list[Sample]:
    """One sample a document; lm-eval has one row for each document and filter."""
    samples: dict[int, Sample] = {}
    for row in sorted(rows, key=lambda row: int(row["doc_id"])):
        kind = str(row.get("filter", "none"))
        values = {
            _metric_name(name, kind): float(row[name]) for name in row["metrics"] if isinstance(row[name], int | float)
        }
        known = samples.setdefault(int(row["doc_id"]), _read_sample(task, row))
        known.metrics.update(values)
    return list(samples.values())


def _metric_name(name: str, kind: str) -> str:
    return name if kind == "none" else f"{name},{kind}"


def _read_sample(task: str, row: Mapping[str, Any]) -> Sample:
    doc = row["doc"] if isinstance(row["doc"], Mapping) else {}
    response = row["filtered_resps"][0]
    return Sample(
        id=str(doc.get("id", f"{task}-{row['doc_id']}")),
        category=str(doc.get("category", "")),
        prompt=str(doc.get("prompt", "")),
        response=response if isinstance(response, str) else None,
        metrics={},
        asked=str(row.get("prompt_hash", "")),
    )


@contextmanager
def _random_state_kept() -> Iterator[None]:
    """lm-eval seeds every generator; a training run around it must not notice."""
    import numpy
    import torch

    python_state, numpy_state = random.getstate(), numpy.random.get_state()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        try:
            yield
        finally:
            random.setstate(python_state)
            numpy.random.set_state(numpy_state)
