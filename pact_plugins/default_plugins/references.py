"""The references that ship with the package."""

from __future__ import annotations

from collections.abc import Callable

from pact_plugins.contracts import ReferenceBuilder
from pact_plugins.hookspecs import hookimpl
from pact_plugins.reference.cached import CachedReference
from pact_plugins.reference.online import AdapterOffReference, FrozenCopyReference


@hookimpl(tryfirst=True)
def register_references(register: Callable[[str, ReferenceBuilder], None]) -> None:
    register(AdapterOffReference.name, AdapterOffReference)
    register(FrozenCopyReference.name, FrozenCopyReference)
    register(CachedReference.name, CachedReference)
