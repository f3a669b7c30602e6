"""What the evals register. Imports nothing heavy: it is loaded by every ``pact`` command."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pact_plugins.hookspecs import hookimpl


@hookimpl
def register_judges(register: Callable[[str, Callable[..., Any]], None]) -> None:
    from pact_evals.judges.keyword import KeywordJudge

    register("keyword", KeywordJudge)
