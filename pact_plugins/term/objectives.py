"""The objectives that ship with the package, themselves; torch is imported when one is computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pact_plugins.contracts import MixtureSettings, Objective, ObjectiveInputs, ObjectiveOutput
from pact_plugins.errors import PartUnavailableError

if TYPE_CHECKING:
    from torch import Tensor

    from pact_plugins.contracts import SafetyTokens


def _mixes(mixture: MixtureSettings) -> bool:
    return mixture.boost > 0


def _match(inputs: ObjectiveInputs) -> ObjectiveOutput:
    from pact_plugins.batch.divergence import match

    return ObjectiveOutput(match(inputs.train_logits, inputs.reference_logits, temperature=inputs.temperature))


def _opening_tokens(tokens: SafetyTokens) -> Tensor:
    """(K,) int64, ascending: those that open refusals, and those that open compliant answers."""
    import torch

    for kind, opening_tokens in (
        ("a refusal", tokens.refusal_opening_tokens),
        ("a compliant answer", tokens.compliance_opening_tokens),
    ):
        if not opening_tokens:
            raise PartUnavailableError(f"objective: log_odds needs tokens that open {kind}, and calibration found none")
    return torch.tensor(sorted({*tokens.refusal_opening_tokens, *tokens.compliance_opening_tokens}))


def _log_odds(inputs: ObjectiveInputs) -> ObjectiveOutput:
    from pact_plugins.term.divergence import log_odds

    assert inputs.tokens is not None
    device, tokens = inputs.train_logits.device, inputs.tokens
    return ObjectiveOutput(
        log_odds(
            inputs.train_logits,
            inputs.reference_logits,
            tokens.opens_refusal.to(device),
            tokens.opens_help.to(device),
            inputs.positions,
            temperature=inputs.temperature,
        )
    )


def _full_kl(inputs: ObjectiveInputs) -> ObjectiveOutput:
    from pact_plugins.term.divergence import full_kl

    return ObjectiveOutput(full_kl(inputs.train_logits, inputs.reference_logits, temperature=inputs.temperature))


def _mixed(name: str) -> Callable[[ObjectiveInputs], ObjectiveOutput]:
    def compute(inputs: ObjectiveInputs) -> ObjectiveOutput:
        from pact_plugins.term import divergence as forms
        from pact_plugins.term.mixture import mixture_share

        divergence = getattr(forms, name)(
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
    Objective("published", _mixed("published"), needs_prompt_free=_mixes, needs_weights=True, reads=_PUBLISHED),
    Objective(
        "published_positive",
        _mixed("published_positive"),
        needs_prompt_free=_mixes,
        needs_weights=True,
        reads=_PUBLISHED,
    ),
    Objective("log_odds", _log_odds, default_weight=2.0, reads=("temperature",), tokens=_opening_tokens),
    Objective("full_kl", _full_kl, full_vocabulary=True, reads=("temperature",)),
)
