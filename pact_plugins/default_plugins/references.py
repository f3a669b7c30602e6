"""The references that ship with the package; torch is imported when one is built."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pact_plugins.hookspecs import hookimpl

if TYPE_CHECKING:
    from pact_plugins.contracts import Reference, ReferenceBuilder, ReferenceContext


@hookimpl(tryfirst=True)
def register_references(register: Callable[[str, ReferenceBuilder], None]) -> None:
    register("adapter_off", _adapter_off)
    register("frozen_copy", _frozen_copy)
    register("cache", _cached)


def _adapter_off(context: ReferenceContext) -> Reference:
    from pact_plugins.reference.online import AdapterOffReference

    return AdapterOffReference(context)


def _frozen_copy(context: ReferenceContext) -> Reference:
    from pact_plugins.reference.online import FrozenCopyReference

    return FrozenCopyReference(context)


def _cached(context: ReferenceContext) -> Reference:
    from pact_plugins.reference.cached import CachedReference

    return CachedReference(context)
