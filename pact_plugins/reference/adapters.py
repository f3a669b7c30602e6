"""PEFT adapters as a switch: off, the aligned model has to be there again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pact_plugins.errors import ConfigurationError
from pact_plugins.modeling import base_has_moved

# Initialisations that rewrite the base weights, so that the model without its adapter is not the aligned one.
_REWRITING_INITIALISATIONS = ("pissa", "olora", "corda", "loftq", "lora_ga", "orthogonal_residual")


def rewrites_base_weights(initialisation: Any) -> bool:
    """Whether PEFT's ``init_lora_weights`` is one that changes the base weights."""
    return isinstance(initialisation, str) and initialisation.lower().startswith(_REWRITING_INITIALISATIONS)


def refuse_unfaithful_adapter(peft_model: Any) -> None:
    """Raise ConfigurationError where switching the adapter off does not give the aligned model back."""
    for name, adapter in peft_model.peft_config.items():
        initialisation = getattr(adapter, "init_lora_weights", True)
        if rewrites_base_weights(initialisation):
            raise ConfigurationError(
                f"init_lora_weights={initialisation!r} of adapter {name!r} rewrites the base weights, so the model "
                "with the adapter off is not the aligned model; set reference.path to the aligned model"
            )
        if getattr(adapter, "layer_replication", None):
            raise ConfigurationError(
                f"layer_replication of adapter {name!r} repeats layers of the base, so the model with the adapter off "
                "is not the aligned model; set reference.path to the aligned model"
            )
    if any(getattr(module, "merged", False) for module in peft_model.modules()):
        raise ConfigurationError("an adapter is merged into the base weights; set reference.path to the aligned model")
    refuse_moved_base(peft_model)


def refuse_moved_base(peft_model: Any) -> None:
    """Raise ConfigurationError where an earlier training of this process has moved the weights below the adapter."""
    if base_has_moved(peft_model.get_base_model()):
        raise ConfigurationError(
            "an earlier training of this process has moved this model's base weights, in full or by a merged adapter, "
            "so that they are not the aligned model's any more; load the aligned model again, or set reference.path to "
            "it"
        )


@contextmanager
def adapters_off(peft_model: Any) -> Iterator[None]:
    """``disable_adapter`` that also gives every parameter its own ``requires_grad`` back."""
    before = [(parameter, parameter.requires_grad) for parameter in peft_model.parameters()]
    try:
        with peft_model.disable_adapter():
            yield
    finally:
        for parameter, requires_grad in before:
            if parameter.requires_grad != requires_grad:
                parameter.requires_grad_(requires_grad)
