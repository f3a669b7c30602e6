"""The references that ship with the package; torch is imported when they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pact_plugins.hookspecs import hookimpl

if TYPE_CHECKING:
    from pact_plugins.contracts import ReferenceBuilder


@hookimpl(tryfirst=True)
def register_references(register: Callable[[str, ReferenceBuilder], None]) -> None:
    from pact_plugins.reference.cached import CachedReference
    from pact_plugins.reference.online import AdapterOffReference, FrozenCopyReference

    register(AdapterOffReference.name, AdapterOffReference)
    register(FrozenCopyReference.name, FrozenCopyReference)
    register(CachedReference.name, CachedReference)
