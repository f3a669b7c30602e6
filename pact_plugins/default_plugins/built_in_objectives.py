"""The objectives that ship with the package, themselves."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from pact_plugins.contracts import Objective, ObjectiveInputs, ObjectiveOutput
from pact_plugins.objective import MixtureSettings, full_kl, match, mixture_share, published, published_positive


def _mixes(mixture: MixtureSettings) -> bool:
    return mixture.boost > 0


def _match(inputs: ObjectiveInputs) -> ObjectiveOutput:
    return ObjectiveOutput(match(inputs.train_logits, inputs.reference_logits, temperature=inputs.temperature))


def _full_kl(inputs: ObjectiveInputs) -> ObjectiveOutput:
    return ObjectiveOutput(full_kl(inputs.train_logits, inputs.reference_logits, temperature=inputs.temperature))


def _mixed(function: Callable[..., Tensor]) -> Callable[[ObjectiveInputs], ObjectiveOutput]:
    def compute(inputs: ObjectiveInputs) -> ObjectiveOutput:
        divergence = function(
            inputs.train_logits,
            inputs.reference_logits,
            inputs.prompt_free_logits,
            inputs.weights,
            inputs.positions,
            temperature=inputs.temperature,
            mixture=inputs.mixture,
        )
        metrics = {}
        if inputs.prompt_free_logits is not None and _mixes(inputs.mixture):
            metrics["mixture"] = mixture_share(
                inputs.train_logits, inputs.prompt_free_logits, inputs.positions, inputs.mixture
            )
        return ObjectiveOutput(divergence, metrics)

    return compute


_PUBLISHED = ("temperature", "mixture")
BUILT_IN_OBJECTIVES = (
    Objective("match", _match, default_weight=2.0, reads=("temperature",)),
    Objective("published", _mixed(published), needs_prompt_free=_mixes, needs_weights=True, reads=_PUBLISHED),
    Objective(
        "published_positive", _mixed(published_positive), needs_prompt_free=_mixes, needs_weights=True, reads=_PUBLISHED
    ),
    Objective("full_kl", _full_kl, full_vocabulary=True, reads=("temperature",)),
)
