"""Evaluates models one after another into a run folder. What is stored already is not evaluated again."""

from __future__ import annotations

import gc
import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from pact_evals.harness.evaluate import EvaluationError, Save, evaluate_checkpoint
from pact_evals.harness.listing import resolve_tasks
from pact_evals.runs.models import ModelSpec, require_chat_template
from pact_evals.runs.served import require_answers
from pact_evals.runs.store import DamagedRunError, ModelResult, RunError, comparable, load_run
from pact_plugins.errors import PACTError
from pact_plugins.files import why_no_model
from pact_plugins.modeling.loading import why_not_loaded

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class EvaluationSettings:
    """How models are evaluated. `limit`: rows of each task; `max_new_tokens`: instead of the tasks' own limits."""

    tasks: tuple[str, ...] = ("pact",)
    apply_chat_template: bool = True
    batch_size: int | str = 16
    device: str | None = None
    limit: int | None = None
    max_new_tokens: int | None = None
    task_settings: dict[str, Any] = field(default_factory=dict)

    def as_stored(self) -> dict[str, Any]:
        """What can change a number, as plain data. Tasks are stored one by one, the device is free to change."""
        stored: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        del stored["tasks"], stored["device"]
        return stored


@dataclass(frozen=True)
class Outcome:
    """What became of one model: its results, or the error. `resumed`: everything was there already."""

    label: str
    result: ModelResult | None = None
    error: str | None = None
    resumed: bool = False


def evaluate_models(
    specs: Sequence[ModelSpec],
    output: Path,
    settings: EvaluationSettings,
    *,
    report: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Evaluate each model and store it as soon as it is done.

    Tasks that are stored with the same weights and settings are kept, the others run in one call of lm-eval; a model
    that was interrupted goes on from lm-eval's response cache. A model that fails leaves the others alone, and what is
    stored of it.

    Args:
        output: run folder, new or not; other models in it stay.
        report: called after each model.

    Raises:
        UnknownTaskError: a task that does not exist. ConfigurationError: a model without chat template, or an adapter
            that the backend does not take. RunError: `output` is a damaged run. EndpointError: a server refuses.
    """
    tasks = resolve_tasks(settings.tasks)
    for spec in specs:
        spec.model_args()
        if spec.served is not None:
            require_answers(spec, tasks)
        if settings.apply_chat_template:
            require_chat_template(spec)
    if output.exists() and not output.is_dir():
        raise RunError(f"{output} is a file; -o names the run's folder")
    outcomes = []
    for spec in tqdm(specs, desc="models", unit="model", disable=None if len(specs) > 1 else True):
        outcome = _evaluate(spec, tasks, output, settings)
        outcomes.append(outcome)
        if report is not None:
            report(outcome)
    return outcomes


def _evaluate(spec: ModelSpec, tasks: Sequence[str], output: Path, settings: EvaluationSettings) -> Outcome:
    about = {"identity": spec.identity(), "settings": settings.as_stored()}
    stored = _stored(output, spec.label, about)
    there = {*stored.requested, *stored.tasks} if stored else set()
    missing = [task for task in tasks if task not in there]
    if stored is not None and not missing:
        return Outcome(spec.label, stored, resumed=True)
    cache = output / spec.label / "cache" / _digest(comparable(about["identity"]), about["settings"])
    try:
        evaluation = evaluate_checkpoint(
            spec.backend,
            spec.model_args(),
            missing,
            apply_chat_template=settings.apply_chat_template,
            batch_size=settings.batch_size,
            device=settings.device,
            limit=settings.limit,
            generation={"max_gen_toks": settings.max_new_tokens} if settings.max_new_tokens else None,
            task_settings=settings.task_settings,
            cache=str(cache),
            save=Save(output, spec.label, {**about, "requested": missing}),
        )
        if not evaluation.metrics:
            return Outcome(spec.label)  # another process of a distributed run has the results
        # lm-eval only warns where it could not write them.
        (result,) = load_run(output / spec.label)
        if not set(evaluation.metrics) <= set(result.tasks):
            raise RunError(f"the results of {spec.label} are not in {output / spec.label}: could they not be written?")
    except PACTError as error:
        _LOGGER.debug("%s failed", spec.label, exc_info=True)
        return Outcome(spec.label, error=_why(spec, error))
    finally:
        _release_memory()
    _drop_other_caches(cache)
    return Outcome(spec.label, result)


def _why(spec: ModelSpec, error: PACTError) -> str:
    """A name that is no model's folder may be a misspelt one, of which the hub's client does not speak."""
    cause = error.__cause__
    is_model = Path(spec.model).expanduser().exists() and why_no_model(spec.model) is None
    if spec.served is not None or is_model or not isinstance(error, EvaluationError):
        return str(error)
    if not isinstance(cause, OSError) or cause.errno is not None:
        return str(error)
    return f"{spec.model} cannot be loaded: {why_not_loaded(spec.model, cause)}"


def _stored(output: Path, label: str, about: dict[str, Any]) -> ModelResult | None:
    """The stored model, if it has the same weights and settings."""
    try:
        (stored,) = load_run(output / label)
    except DamagedRunError as error:
        _LOGGER.warning("%s; evaluating %s again", error, label)
        return None
    except RunError:
        return None
    if comparable(stored.identity) != comparable(about["identity"]):
        return None
    settings = {name: stored.settings.get(name) for name in about["settings"]}
    return stored if settings == about["settings"] else None


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _drop_other_caches(cache: Path) -> None:
    """Responses of earlier weights or settings are of no use any more."""
    for file in cache.parent.iterdir():
        if not file.name.startswith(cache.name):
            file.unlink()


def _release_memory() -> None:
    """The next model needs the accelerator's memory."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
