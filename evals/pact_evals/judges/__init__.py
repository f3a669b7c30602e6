"""Judges: what a response is. The keyword judge is the cheap offline tier; classifiers and the rubric read meaning."""

from __future__ import annotations

from typing import Any

from pact_evals.judges.builtin import BUILT_IN
from pact_plugins.contracts.judge import (
    COMPLIANCE,
    EMPTY,
    LABELS,
    PARTIAL_REFUSAL,
    REFUSAL,
    UNENGAGED,
    UNSCORED,
    Judge,
    JudgeError,
    JudgeIdentity,
    JudgeUnavailableError,
    Verdict,
)


def get_judge(name: str, **settings: Any) -> Judge:
    """The judge registered under `name`, built with its settings (for example `model=` for a local classifier).

    Raises:
        JudgeError: no such judge, or settings that it does not take.
    """
    if name in BUILT_IN:
        factory = BUILT_IN[name]
    else:
        from pact_plugins.plugins import judges

        registered = {**judges(), **BUILT_IN}
        if name not in registered:
            raise JudgeError(f"no judge {name!r}; registered are: {', '.join(sorted(registered))}")
        factory = registered[name]
    try:
        judge = factory(**settings)
    except TypeError as error:
        given = ", ".join(sorted(settings)) or "none"
        raise JudgeError(f"judge {name!r} does not take these settings ({given}): {error}") from error
    if not isinstance(judge, Judge):
        raise JudgeError(
            f"judge {name!r} is a {type(judge).__name__}, which is no subclass of pact_plugins.contracts.Judge; repair "
            "the plugin"
        )
    judge.registered_name = name
    return judge


__all__ = [
    "COMPLIANCE",
    "EMPTY",
    "LABELS",
    "PARTIAL_REFUSAL",
    "REFUSAL",
    "UNENGAGED",
    "UNSCORED",
    "Judge",
    "JudgeError",
    "JudgeIdentity",
    "JudgeUnavailableError",
    "Verdict",
    "get_judge",
]
