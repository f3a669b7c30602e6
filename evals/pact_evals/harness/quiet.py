"""lm-eval without what nobody here reads: its report on the environment, git's complaints, bars of a moment."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any

# Said of every group in which refusing is right in one task and wrong in another.
_INCONSISTENT = "Higher_is_better values for metric"


@contextmanager
def undisturbed() -> Iterator[None]:
    """Inside the block lm-eval measures, and shows its progress, and nothing else."""
    with ExitStack() as stack:
        # It starts pip and a dozen of other programs: seconds each time.
        stack.enter_context(_replaced("lm_eval.evaluator", "add_env_info", lambda _original: _nothing))
        # Outside of a git checkout git writes to standard error itself.
        stack.enter_context(_replaced("lm_eval.evaluator", "get_git_commit_hash", lambda _original: _nothing))
        for module in ("lm_eval.api.task", "lm_eval.api.model"):
            stack.enter_context(_replaced(module, "tqdm", lambda bar: functools.partial(bar, disable=True)))
        stack.enter_context(_without_message("lm_eval.evaluator_utils", _INCONSISTENT))
        yield


def _nothing(*_: Any) -> None:
    return None


@contextmanager
def _replaced(module: str, name: str, replacement: Callable[[Any], Any]) -> Iterator[None]:
    """Another version of lm-eval may have no such name: then there is nothing to silence."""
    place = import_module(module)
    original = getattr(place, name, None)
    if original is None:
        yield
        return
    setattr(place, name, replacement(original))
    try:
        yield
    finally:
        setattr(place, name, original)


@contextmanager
def _without_message(logger: str, beginning: str) -> Iterator[None]:
    def keep(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(beginning)

    target = logging.getLogger(logger)
    target.addFilter(keep)
    try:
        yield
    finally:
        target.removeFilter(keep)
