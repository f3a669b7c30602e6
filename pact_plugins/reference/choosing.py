"""Which reference a configuration names, and whether it can answer what the parts need."""

from __future__ import annotations

from collections.abc import Mapping

from pact_plugins import plugins
from pact_plugins.contracts import Needs, Reference, ReferenceContext
from pact_plugins.errors import ConfigurationError, PartUnavailableError
from pact_plugins.messages import announce
from pact_plugins.reference.faithfulness import left_when_off, named
from pact_plugins.reference.online import automatic_reference
from pact_plugins.reference.settings import AUTO


def build_reference(context: ReferenceContext, needs: Mapping[str, Needs]) -> Reference:
    """The reference that the settings name.

    Args:
        needs: of each part, by its name.

    Raises:
        ConfigurationError: it cannot be built, or is no ``Reference``.
        PartUnavailableError: it cannot answer what a part needs.
    """
    settings = context.settings
    name = automatic_reference(context) if settings.kind == AUTO else settings.kind
    if settings.kind in (AUTO, "cache") and settings.path is None:
        left = left_when_off(context.model_parts)
        if left:
            announce(f"{named(left)} train and are still there when the adapter is off: the reference is a copy")
    reference = plugins.references()[name](context)
    if not isinstance(reference, Reference):
        raise ConfigurationError(
            f"reference.kind: what {name} builds is a {type(reference).__name__}, which is no subclass of "
            "pact_plugins.contracts.Reference; repair the plugin, or use reference.kind: auto"
        )
    for part, needed in needs.items():
        _check_capabilities(part, needed, name, reference)
    return reference


def _check_capabilities(part: str, needs: Needs, name: str, reference: Reference) -> None:
    able = reference.capabilities
    for what, lacks in (
        ("logits without the prompt (prompt_free)", needs.prompt_free and not able.prompt_free),
        ("logits of the whole vocabulary (whole_vocabulary)", needs.whole_vocabulary and not able.whole_vocabulary),
        ("the mass of refusal openings (refusal_mass)", needs.refusal_mass and not able.refusal_mass),
    ):
        if lacks:
            raise PartUnavailableError(
                f"it needs {what}, which reference.kind: {name} cannot give; use reference.kind: auto", part
            )
