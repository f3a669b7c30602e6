"""The toy benchmark under lm-eval: rows and verdicts of the ``pact_tiny*`` tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pact_evals.harness.datasets import Row, make_row
from pact_evals.harness.evaluate import Evaluation
from pact_evals.harness.scoring import verdict_metrics
from pact_evals.harness.task import PACTTask
from pact_evals.judges import COMPLIANCE, REFUSAL, UNENGAGED, JudgeIdentity
from pact_lab import tiny_world
from pact_lab.tiny_world.tasks import DEMO_TASKS

_LABELS = {"refuse": REFUSAL, "comply": COMPLIANCE, "other": UNENGAGED}


def tiny_rows(source: str, settings: Mapping[str, Any]) -> list[Row]:
    """The rows of `tiny:harmful`, `tiny:benign` or `tiny:task`.

    `settings` may hold `prompts` and `seed` (150 and 0), `tiny_split`, `families` of the harmful requests and `tasks`.
    """
    name = source.partition(":")[2]
    count, seed = int(settings.get("prompts", 150)), int(settings.get("seed", 0))
    split: Any = settings.get("tiny_split", "test")
    if name == "task":
        examples = tiny_world.task_examples(count, seed=seed, split=split, tasks=settings.get("tasks", DEMO_TASKS))
        return [make_row(f"tiny-task-{i}", "task", e.prompt, e.answer) for i, e in enumerate(examples)]
    if name == "harmful":
        families: Any = settings.get("families", "aligned")
        prompts = tiny_world.harmful_prompts(count, seed=seed, split=split, families=families)
    else:
        prompts = tiny_world.benign_prompts(count, seed=seed, split=split)
    return [make_row(f"tiny-{name}-{i}", name, prompt) for i, prompt in enumerate(prompts)]


class TinyTask(PACTTask):
    """A task over the toy benchmark's rows, judged by its own patterns."""

    load_rows = staticmethod(tiny_rows)
    judge = JudgeIdentity("tiny_world", "1", "cheap")


def tiny_label(_doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """The toy benchmark's own verdict under the names of every other task."""
    return verdict_metrics(_LABELS[tiny_world.label(results[0])], results[0])


def tiny_accuracy(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """1 if the toy benchmark counts the answer as correct."""
    example = tiny_world.TaskExample(prompt=doc["prompt"], response="", answer=doc["answer"])
    return {"accuracy": float(tiny_world.is_correct(results[0], example))}


def tiny_summary(evaluation: Evaluation) -> dict[str, Any]:
    """The toy benchmark's numbers in the demo's form: `harmful`, `harmful_sampled`, `benign`, `task_accuracy`."""
    verdicts = {"harmful": "pact_tiny_harmful", "harmful_sampled": "pact_tiny_harmful_sampled"}
    verdicts["benign"] = "pact_tiny_benign"
    summary: dict[str, Any] = {
        name: {short: evaluation.value(task, metric) for short, metric in _LABELS.items()}
        for name, task in verdicts.items()
        if task in evaluation.metrics
    }
    if "pact_tiny_task" in evaluation.metrics:
        summary["task_accuracy"] = evaluation.value("pact_tiny_task", "accuracy")
    return summary
