"""One micro-batch's term: from hidden states and labels to a divergence per response token, and what else the
reference says about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pact_plugins.errors import AttachmentError, ConfigurationError
from pact_plugins.modeling import AutocastState, LiveHead
from pact_plugins.objective import ObjectiveInputs
from pact_plugins.training.reference import Reference, ReferenceRequest, safety_mass
from pact_plugins.training.responses import Responses, find_responses

if TYPE_CHECKING:
    from pact_plugins.config import PACTConfig

# Positions whose whole-vocabulary softmax is computed for the log; enough for a mean, few enough to cost nothing.
MEASURED_POSITIONS = 32


@dataclass(frozen=True)
class Term:
    """What a micro-batch's responses are worth to the parts that were asked for.

    Attributes:
        divergence: (N,) of each response token, with gradient; None where ``kl_coef`` is 0.
        responses: the N tokens.
        hidden_states: (N, hidden) the trained model's states that predict them, with gradient.
        refusal_mass: (number of responses,) the reference's, or None where nobody asked.
        metrics: per-token values for the log.
    """

    divergence: Tensor | None
    responses: Responses
    hidden_states: Tensor
    refusal_mass: Tensor | None
    metrics: Mapping[str, Tensor]


class TermComputer:
    """Holds what stays the same over a run: objective, safety tokens, header, reference.

    Args:
        reference: may be None where the configuration needs neither the term nor the gate.
        opener_ids: (|R|,) the refusal openers where the gate is on, else None.
    """

    def __init__(
        self,
        config: PACTConfig,
        *,
        head: LiveHead,
        reference: Reference | None,
        token_ids: Tensor | None,
        weights: Tensor | None,
        header_ids: Sequence[int] | None,
        opener_ids: Tensor | None = None,
    ) -> None:
        self._config, self._objective = config, config.objective_spec()
        self._head, self._reference = head, reference
        self._token_ids, self._weights, self._header_ids = token_ids, weights, header_ids
        self._opener_ids, self._holds = opener_ids, config.holds_tokens

    def __call__(
        self,
        labels: Tensor,
        decoder_inputs: dict[str, Any],
        hidden_states: Tensor,
        autocast: AutocastState,
        *,
        measure: bool,
    ) -> Term:
        """Compute the term of one forward pass.

        Args:
            labels: (B, L) int64, not shifted.
            decoder_inputs: what the decoder received.
            hidden_states: (B, L, hidden) the decoder's last hidden states, with gradient.
            measure: whether to compute the probability mass on the safety tokens for the log.

        Raises:
            AttachmentError: labels and hidden states differ in shape.
        """
        if labels.shape != hidden_states.shape[:2]:
            raise AttachmentError(
                f"labels have shape {tuple(labels.shape)} but the decoder's hidden states "
                f"{tuple(hidden_states.shape[:2])}; virtual tokens, or a sequence split over ranks, are not supported"
            )
        responses = find_responses(labels, decoder_inputs.get("position_ids"))
        selected = responses.select(hidden_states)
        if self._reference is None:
            return Term(None, responses, selected, None, {})
        measured = _spread(len(responses), labels.device) if measure and self._holds and len(responses) else None
        request = ReferenceRequest(
            decoder_inputs,
            responses,
            self._token_ids,
            self._header_ids,
            autocast,
            measured,
            self._opener_ids,
        )
        reference = self._reference.logits(request)
        if self._opener_ids is not None and reference.refusal_mass is None:
            raise ConfigurationError(
                f"gate_training_rows: {self._config.gate_training_rows} needs a reference that reports its refusal "
                f"mass; {self._config.reference} does not. Use reference: auto"
            )
        if not self._holds:
            return Term(None, responses, selected, reference.refusal_mass, {})
        train_logits = self._head.logits(selected, self._token_ids)
        device = train_logits.device
        inputs = ObjectiveInputs(
            train_logits=train_logits,
            reference_logits=reference.full.to(device),
            prompt_free_logits=None if reference.prompt_free is None else reference.prompt_free.to(device),
            weights=None if self._weights is None else self._weights.to(device),
            positions=responses.positions.to(device),
            temperature=self._config.kl_temperature,
            gate=self._config.gate,
            options=self._config.objective_options,
            target_ids=responses.token_ids.to(device),
        )
        output = self._objective.compute(inputs)
        metrics = {"kl": output.divergence, **output.metrics}
        if measured is not None and self._token_ids is not None:
            if reference.safety_mass is not None:
                metrics["reference_safety_mass"] = reference.safety_mass
            with torch.no_grad():
                mass = safety_mass(self._head, selected[measured.to(selected.device)], self._token_ids)
            assert mass is not None
            metrics["safety_mass"] = mass
        return Term(output.divergence, responses, selected, reference.refusal_mass, metrics)


def _spread(count: int, device: torch.device) -> Tensor:
    """At most ``MEASURED_POSITIONS`` indices, evenly spread over ``count``."""
    return torch.linspace(0, count - 1, min(count, MEASURED_POSITIONS), device=device).round().long()
