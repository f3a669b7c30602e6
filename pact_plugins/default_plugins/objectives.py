"""The objectives that ship with the package."""

from __future__ import annotations

from collections.abc import Callable

from pact_plugins.hookspecs import hookimpl
from pact_plugins.objective.baselines import BASELINE_OBJECTIVES
from pact_plugins.objective.registry import BUILT_IN_OBJECTIVES, Objective


@hookimpl
def register_objectives(register: Callable[[Objective], None]) -> None:
    for objective in (*BUILT_IN_OBJECTIVES, *BASELINE_OBJECTIVES):
        register(objective)
