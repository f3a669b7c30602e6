"""Which tasks there are, ours and lm-eval's own."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from pact_plugins.errors import PACTError
from pact_plugins.plugins import task_folders


class UnknownTaskError(PACTError, ValueError):
    """No task or group of that name."""


def our_tasks() -> list[str]:
    """Names of all tasks and groups of the registered folders, without importing lm-eval."""
    return sorted(file.stem for folder in task_folders() for file in folder.glob("*.yaml"))


def resolve_tasks(names: Sequence[str]) -> list[str]:
    """The requested names, checked.

    Raises:
        UnknownTaskError: a name that neither we nor lm-eval have; the message names the closest ones.
    """
    ours = our_tasks()
    if not names:
        raise UnknownTaskError("no tasks given")
    foreign = [name for name in names if name not in ours]
    misspelt = [name for name in foreign if name.startswith("pact")]
    if foreign and not misspelt:  # indexing lm-eval's thousands of tasks takes seconds
        known = set(task_manager(names).all_tasks)
        misspelt = [name for name in foreign if name not in known]
    if misspelt:
        close = difflib.get_close_matches(misspelt[0], ours, n=3) or ours
        raise UnknownTaskError(f"no task {misspelt[0]!r}; did you mean {', '.join(close)}?")
    return list(dict.fromkeys(names))


def generation_settings(names: Sequence[str]) -> dict[str, dict[str, Any] | None]:
    """By task, those in the groups included: what is sent with each request; None where it needs log-likelihoods."""
    from lm_eval.tasks import get_task_dict

    return {
        task.config.task: _sent(task.config.generation_kwargs) if task.OUTPUT_TYPE == "generate_until" else None
        for task in _leaves(get_task_dict(list(names), task_manager(names)))
    }


def _sent(settings: Mapping[str, Any] | None) -> dict[str, Any]:
    ours = ("until", "do_sample", "max_gen_toks", "max_tokens")
    return {key: value for key, value in (settings or {}).items() if key not in ours}


def _leaves(tree: Mapping[Any, Any]) -> list[Any]:
    """lm-eval nests the tasks of a group under it."""
    found: list[Any] = []
    for task in tree.values():
        found += _leaves(task) if isinstance(task, Mapping) else [task]
    return found


def task_manager(names: Sequence[str], metadata: Mapping[str, Any] | None = None) -> Any:
    """lm-eval's task manager over the registered folders; its own thousands of tasks are indexed only if asked for."""
    from lm_eval.tasks import TaskManager

    return TaskManager(
        include_path=[str(folder) for folder in task_folders()],
        include_defaults=not set(names) <= set(our_tasks()),
        metadata=dict(metadata or {}),
    )
