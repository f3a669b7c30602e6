"""The references that ship with the package."""

from __future__ import annotations

from collections.abc import Callable

from pact_plugins.hookspecs import hookimpl
from pact_plugins.training.cached_reference import CachedReference
from pact_plugins.training.reference import AdapterOffReference, FrozenCopyReference, ReferenceBuilder


@hookimpl
def register_references(register: Callable[[str, ReferenceBuilder], None]) -> None:
    register(AdapterOffReference.name, AdapterOffReference)
    register(FrozenCopyReference.name, FrozenCopyReference)
    register(CachedReference.name, CachedReference)
