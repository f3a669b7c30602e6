"""The row gate, registered as any package's part is; torch is imported when it is built."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pact_plugins.contracts import PartSpec
from pact_plugins.hookspecs import hookimpl
from pact_plugins.row_gate.settings import RowGateSettings, needs

if TYPE_CHECKING:
    from pact_plugins.contracts import Part, PartContext


@hookimpl(tryfirst=True)
def register_parts(register: Callable[[PartSpec], None]) -> None:
    register(PartSpec("row_gate", RowGateSettings, _build, needs))


def _build(context: PartContext[RowGateSettings]) -> Part:
    from pact_plugins.row_gate.part import RowGate

    return RowGate(context)
