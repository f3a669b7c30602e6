"""The anchor, registered as any package's part is; torch is imported when it is built."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pact_plugins.anchor.settings import AnchorSettings, needs
from pact_plugins.contracts import PartSpec
from pact_plugins.hookspecs import hookimpl

if TYPE_CHECKING:
    from pact_plugins.contracts import Part, PartContext


@hookimpl(tryfirst=True)
def register_parts(register: Callable[[PartSpec], None]) -> None:
    register(PartSpec("anchor", AnchorSettings, _build, needs))


def _build(context: PartContext[AnchorSettings]) -> Part:
    from pact_plugins.anchor.building import build_anchor

    return build_anchor(context)
