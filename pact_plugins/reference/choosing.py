"""Which reference a configuration names, and whether it can answer what the configuration needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pact_plugins import plugins
from pact_plugins.contracts import Reference, ReferenceContext
from pact_plugins.errors import ConfigurationError, NoRowGateError
from pact_plugins.messages import announce
from pact_plugins.reference.faithfulness import left_when_off, named
from pact_plugins.reference.online import automatic_reference

if TYPE_CHECKING:
    from pact_plugins.config import PACTConfig


def build_reference(context: ReferenceContext, config: PACTConfig) -> Reference | None:
    """The reference that ``config`` names; None where no built-in part needs one.

    Raises:
        ConfigurationError: it cannot be built, is no ``Reference``, or cannot answer what ``config`` needs.
    """
    if not config.holds_tokens and not config.gates_rows:
        return None
    name = automatic_reference(context) if config.reference == "auto" else config.reference
    if config.reference in ("auto", "cache") and config.reference_model_path is None:
        left = left_when_off(context.anatomy)
        if left:
            announce(f"{named(left)} train and are still there when the adapter is off: the reference is a copy")
    reference = plugins.references()[name](context)
    if not isinstance(reference, Reference):
        raise ConfigurationError(
            f"reference: what {name} builds is a {type(reference).__name__}, which is no subclass of "
            "pact_plugins.contracts.Reference; repair the plugin, or use reference: auto"
        )
    _check_capabilities(name, reference, config)
    return reference


def _check_capabilities(name: str, reference: Reference, config: PACTConfig) -> None:
    objective, able = config.objective_spec(), reference.capabilities
    needs = {
        "logits without the prompt (prompt_free)": (
            f"objective: {config.objective}",
            config.holds_tokens and objective.needs_prompt_free(config.gate) and not able.prompt_free,
            ConfigurationError,
        ),
        "logits of the whole vocabulary (whole_vocabulary)": (
            f"objective: {config.objective}",
            config.holds_tokens and objective.full_vocabulary and not able.whole_vocabulary,
            ConfigurationError,
        ),
        "the mass of refusal openers (refusal_mass)": (
            f"gate_training_rows: {config.gate_training_rows}",
            config.gates_rows and not able.refusal_mass,
            NoRowGateError,
        ),
    }
    for what, (setting, lacks, error) in needs.items():
        if lacks:
            raise error(f"{setting} needs {what}, which reference: {name} cannot give; use reference: auto")
