"""The term, registered as any package's part is; torch is imported when it is built."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pact_plugins.contracts import PartSpec
from pact_plugins.hookspecs import hookimpl
from pact_plugins.term.settings import TermSettings, needs

if TYPE_CHECKING:
    from pact_plugins.contracts import Part, PartContext


@hookimpl(tryfirst=True)
def register_parts(register: Callable[[PartSpec], None]) -> None:
    register(PartSpec("term", TermSettings, _build, needs))


def _build(context: PartContext) -> Part:
    from pact_plugins.term.part import Term

    return Term(context)
