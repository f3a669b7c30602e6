"""Putting the task folders into lm-eval's own task manager, right after its module has been imported.

After `pact enable` the stock `lm_eval` command finds the `pact_*` tasks without `--include_path`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from pact_plugins.plugins import task_folders

_MARK = "_finds_pact"


def install(tasks_module: ModuleType) -> None:
    """Teach `lm_eval.tasks.TaskManager` the registered folders, once."""
    manager = tasks_module.TaskManager
    if hasattr(manager, _MARK):
        return
    original = manager.__init__

    @functools.wraps(original)
    def __init__(  # noqa: N807
        self: Any, verbosity: Any = None, include_path: Any = None, *args: Any, **kwargs: Any
    ) -> None:
        original(self, verbosity, [*_others(include_path), *map(str, task_folders())], *args, **kwargs)

    manager.__init__ = __init__
    setattr(manager, _MARK, True)


def _others(include_path: Any) -> Iterator[Any]:
    """What the user includes, without ours: a folder read twice makes every task a duplicate."""
    given = include_path if isinstance(include_path, list | tuple) else [include_path] if include_path else []
    yield from (place for place in given if Path(place).resolve() not in task_folders())
