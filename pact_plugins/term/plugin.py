"""The term and its objectives, registered as any package's are; torch is imported when they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pact_plugins.contracts import PartSpec
from pact_plugins.hookspecs import hookimpl
from pact_plugins.term.settings import TermSettings, needs

if TYPE_CHECKING:
    from pact_plugins.contracts import Objective, Part, PartContext


@hookimpl(tryfirst=True)
def register_parts(register: Callable[[PartSpec], None]) -> None:
    register(PartSpec("term", TermSettings, _build, needs))


def _build(context: PartContext[TermSettings]) -> Part:
    from pact_plugins.term.part import Term

    return Term(context)


@hookimpl(tryfirst=True)
def register_objectives(register: Callable[[Objective], None]) -> None:
    from pact_plugins.term.objectives import BUILT_IN_OBJECTIVES

    for objective in BUILT_IN_OBJECTIVES:
        register(objective)
