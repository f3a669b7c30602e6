"""What a run of ``pact eval`` says of one model, for that model's card."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pact_evals.checking import check_models
from pact_evals.report import words
from pact_evals.report.comparison import Comparison, MetricRow, compare
from pact_evals.report.markdown import judge_text
from pact_evals.rule import Margins, headline, statement
from pact_evals.runs.gathering import gather
from pact_evals.runs.models import folder_fingerprint, last_change
from pact_evals.runs.store import ModelResult, RunError
from pact_plugins.report.markdown import cell

# The others are shown where a row counts for them.
_ALWAYS = ("refusal", "compliance", "accuracy", "margin", "prefers_refusal", "score")


def evaluation_of(
    folder: Path, runs: Sequence[Path], *, label: str | None = None, baseline: str | None = None
) -> dict[str, Any]:
    """Title, table and notes for ``pact_plugins.model_card.evaluation.write``.

    Args:
        folder: of the model.
        runs: run folders of ``pact eval``.
        label: the model's there; without one it is the model whose weights lie in ``folder``.
        baseline: label of the model that it is compared with; the first other one if not given.

    Raises:
        RunError: a run is damaged, holds no such model, or one that has changed since.
    """
    models = gather(runs)
    model = _named(models, label) if label else _in_folder(models, folder)
    others = [other for other in models if other is not model]
    base = _named(others, baseline) if baseline else next(iter(others), None)
    pair = [model] if base is None else [base, model]
    comparison = compare(pair)
    check = check_models(pair, Margins())
    partial = [f"**{sentence}**" for sentence in words.partial_text(comparison)]
    beside = "on its own" if base is None else f"beside `{base.label}`"
    return {
        "title": f"Evaluation of `{model.label}` {beside}. **{headline(check.verdict)}.**",
        "header": _header(comparison, model),
        "rows": [_row(row, comparison, model) for row in comparison.metrics if _counts(row)],
        "notes": [
            *partial,
            *(statement(row) for row in check.rows),
            *check.reasons,
            *dict.fromkeys(f"judge: {judge_text(judge)}" for judge in comparison.judges.values()),
            *(f"`{one.label}`: {_described(one)}" for one in pair),
            "mean and 95 % interval over the prompts; differences in percentage points, paired by prompt",
        ],
    }


def _named(models: Sequence[ModelResult], label: str) -> ModelResult:
    found = next((model for model in models if model.label == label), None)
    if found is None:
        raise RunError(f"no model {label!r} among those evaluated: {', '.join(model.label for model in models)}")
    return found


def _in_folder(models: Sequence[ModelResult], folder: Path) -> ModelResult:
    found = [model for model in models if _place(model) == folder.resolve()]
    if len(found) != 1:
        labels = ", ".join(model.label for model in models)
        what = "none of the models" if not found else f"{len(found)} of the models"
        raise RunError(f"{what} evaluated ({labels}) lie in {folder}; say which one the card is of: --model LABEL")
    (model,) = found
    weights = model.identity.get("adapter_weights") or model.identity.get("weights")
    one_file = dict(model.identity.get("arguments") or {}).get("gguf_file")
    # lm-eval itself notes no weights, but when it began.
    known = weights is not None
    if (
        folder_fingerprint(folder, None if model.identity.get("adapter") else one_file) != weights
        if known
        else (last_change(folder) > model.date)
    ):
        raise RunError(f"{folder} has changed since {model.label} was evaluated; evaluate it again")
    return model


def _place(model: ModelResult) -> Path | None:
    place = model.identity.get("adapter") or model.identity.get("model")
    return Path(str(place)).resolve() if place and Path(str(place)).exists() else None


def _header(comparison: Comparison, model: ModelResult) -> list[str]:
    difference = [] if comparison.baseline == model.label else ["difference"]
    return [cell(text) for text in ("task", "metric", "rows", *comparison.labels, *difference)]


def _row(row: MetricRow, comparison: Comparison, model: ModelResult) -> list[str]:
    means = [words.mean_text(row, label) for label in comparison.labels]
    difference = [] if comparison.baseline == model.label else [words.difference_text(row, model.label)]
    return [cell(row.task), f"{cell(row.metric)} {words.arrow(row)}", words.rows_text(row), *means, *difference]


def _counts(row: MetricRow) -> bool:
    return row.metric in _ALWAYS or any(interval.value != 0 for interval in row.means.values())


def _described(model: ModelResult) -> str:
    """A folder by its name: a card goes where nobody should learn how somebody's folders are called."""
    identity = model.identity
    names = [str(identity[key]) for key in ("model", "adapter") if identity.get(key)]
    places = [Path(name).name if Path(name).exists() else name for name in names]
    return f"{' with adapter '.join(places)}, backend {identity.get('backend')}, lm-eval {identity.get('lm_eval')}"
