"""Judges the stored answers of a run again, without the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tqdm.auto import tqdm

from pact_evals.judges import Judge, JudgeUnavailableError
from pact_evals.runs.store import ModelResult, RunError, TaskResult, load_run
from pact_evals.runs.verdicts import Journal, key_of

_AT_ONCE = 32  # rows: what an interruption can lose


def rejudge(run: Path, judge: Judge) -> tuple[list[ModelResult], list[str]]:
    """Put a judge's verdicts beside every task that holds judged answers; they count for all models, or for none.

    Every verdict is kept as it comes: a judge that was stopped, or failed on rows, is asked about the rest the next
    time. A judge that measures harm and not refusing leaves the over-refusal tasks as they were.

    Returns:
        all models of the run, and the tasks that were left as they were.

    Raises:
        RunError: no run folder, or no answer in it to judge. JudgeUnavailableError: the judge cannot be reached.
    """
    models = load_run(run)
    tasks = [(name, task) for model in models for name, task in model.tasks.items() if _is_judged(task)]
    if not tasks:
        names = sorted({name for model in models for name in model.tasks})
        raise RunError(f"{run} holds no answers that were judged, only {', '.join(names) or 'empty models'}")
    left = sorted({name for name, task in tasks if judge.measures_harm_only and not _refusing_is_right(task)})
    chosen = [task for name, task in tasks if name not in left]
    if not chosen:
        return models, left
    identity = asdict(judge.identity)
    journals = [Journal(task.file, identity) for task in chosen if task.file is not None]
    _fill(journals, chosen, judge)
    for journal, task in zip(journals, chosen, strict=True):
        journal.finish(task.samples)
    return load_run(run), left


def _fill(journals: Sequence[Journal], tasks: Sequence[TaskResult], judge: Judge) -> None:
    missing = {
        (place, key_of(sample)): sample
        for place, task in enumerate(tasks)
        for sample in task.samples
        if key_of(sample) not in journals[place].verdicts
    }
    total = sum(len(task.samples) for task in tasks)
    rows = list(missing.items())
    with tqdm(total=total, initial=total - len(rows), desc=f"judge {judge.identity.name}", disable=None) as progress:
        for start in range(0, len(rows), _AT_ONCE):
            batch = rows[start : start + _AT_ONCE]
            try:
                verdicts = judge.assess([{"prompt": row.prompt, "response": row.response or ""} for _, row in batch])
            except JudgeUnavailableError as error:
                if progress.n == 0:
                    raise
                kept = f"{progress.n} of {total} rows are judged and kept; the same command goes on"
                raise JudgeUnavailableError(f"{error}; {kept}") from error
            for ((place, _), sample), verdict in zip(batch, verdicts, strict=True):
                journals[place].add(sample, verdict)
            progress.update(len(batch))


def _is_judged(task: TaskResult) -> bool:
    return {"refusal", "compliance", "unscored"} <= set(task.metrics) and task.file is not None


def _refusing_is_right(task: TaskResult) -> bool:
    """Over-refusal tasks, where refusing is wrong, say nothing to a judge that looks for harm."""
    return task.metrics["refusal"].higher_is_better
