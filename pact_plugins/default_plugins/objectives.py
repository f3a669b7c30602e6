"""The objectives that ship with the package; torch is imported when they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pact_plugins.hookspecs import hookimpl

if TYPE_CHECKING:
    from pact_plugins.contracts import Objective


@hookimpl(tryfirst=True)
def register_objectives(register: Callable[[Objective], None]) -> None:
    from pact_plugins.default_plugins.built_in_objectives import BUILT_IN_OBJECTIVES

    for objective in BUILT_IN_OBJECTIVES:
        register(objective)
