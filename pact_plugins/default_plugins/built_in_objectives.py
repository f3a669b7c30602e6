"""The objectives that ship with the package, themselves."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from pact_plugins.contracts import Objective, ObjectiveInputs, ObjectiveOutput
from pact_plugins.objective import GateConfig, full_kl, gate_coefficient, match, published, published_positive


def _gate_is_on(gate: GateConfig) -> bool:
    return gate.boost > 0


def _match(inputs: ObjectiveInputs) -> ObjectiveOutput:
    return ObjectiveOutput(match(inputs.train_logits, inputs.reference_logits, temperature=inputs.temperature))


def _full_kl(inputs: ObjectiveInputs) -> ObjectiveOutput:
    return ObjectiveOutput(full_kl(inputs.train_logits, inputs.reference_logits, temperature=inputs.temperature))


def _gated(function: Callable[..., Tensor]) -> Callable[[ObjectiveInputs], ObjectiveOutput]:
    def compute(inputs: ObjectiveInputs) -> ObjectiveOutput:
        divergence = function(
            inputs.train_logits,
            inputs.reference_logits,
            inputs.prompt_free_logits,
            inputs.weights,
            inputs.positions,
            temperature=inputs.temperature,
            gate=inputs.gate,
        )
        metrics = {}
        if inputs.prompt_free_logits is not None and _gate_is_on(inputs.gate):
            metrics["gate"] = gate_coefficient(
                inputs.train_logits, inputs.prompt_free_logits, inputs.positions, inputs.gate
            )
        return ObjectiveOutput(divergence, metrics)

    return compute


BUILT_IN_OBJECTIVES = (
    Objective("match", _match, default_kl_coef=2.0),
    Objective("published", _gated(published), needs_prompt_free=_gate_is_on, needs_weights=True),
    Objective("published_positive", _gated(published_positive), needs_prompt_free=_gate_is_on, needs_weights=True),
    Objective("full_kl", _full_kl, full_vocabulary=True),
)
