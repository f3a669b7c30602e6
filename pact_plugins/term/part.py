"""The term as a part of the loss: from hidden states to a divergence per response token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pact_plugins.batch.micro_batch import MicroBatch
from pact_plugins.contracts import (
    Answer,
    LossTerm,
    ObjectiveInputs,
    ObjectiveOutput,
    Part,
    PartContext,
    SafetyTokens,
    TokenFacts,
)
from pact_plugins.modeling import OutputHead
from pact_plugins.term.gradients import gradient_metrics
from pact_plugins.term.settings import TermSettings

# Positions whose whole-vocabulary softmax is computed for the log; enough for a mean, few enough to cost nothing.
MEASURED_POSITIONS = 32


class Term(Part):
    """Holds the trained model's confidence on safety-related tokens to the reference's."""

    name, key = "term", "term.weight"

    def __init__(self, context: PartContext[TermSettings]) -> None:
        settings = context.settings
        self._settings, self._objective = settings, settings.spec
        self._head, self._token_ids, self._safety_tokens = context.head, context.token_ids, context.safety_tokens
        self.coefficient = settings.weight
        self._weights, self._facts = None, None
        if context.token_ids is not None and context.safety_tokens is not None:
            self._weights = _weights_of(context.token_ids, context.safety_tokens)
            self._facts = _facts_of(context.token_ids, context.safety_tokens)

    def measured(self, batch: MicroBatch) -> Tensor | None:
        """A few positions of steps that are logged."""
        if not batch.measure or not len(batch.responses):
            return None
        return _spread(len(batch.responses), batch.labels.device)

    def loss_term(self, batch: MicroBatch, answer: Answer) -> LossTerm:
        """The objective's divergence of each response token."""
        inputs = self._inputs(batch, answer)
        output = self._chosen(batch, answer, self._objective.compute(inputs))
        metrics = {**self._metrics(batch, answer, output), **self._gradients(batch, inputs)}
        return LossTerm(output.divergence, metrics)

    def _chosen(self, batch: MicroBatch, answer: Answer, output: ObjectiveOutput) -> ObjectiveOutput:
        """The output with a divergence of zero in responses that ``rows`` leaves out."""
        if self._settings.rows == "all":
            return output
        assert answer.refusal_mass is not None
        assert self._safety_tokens is not None
        refused = answer.refusal_mass > self._safety_tokens.refusal_threshold
        kept = (refused if self._settings.rows == "refused" else ~refused).to(output.divergence)
        return replace(output, divergence=output.divergence * kept[batch.responses.response_index.to(kept.device)])

    def _inputs(self, batch: MicroBatch, answer: Answer) -> ObjectiveInputs:
        assert answer.logits is not None
        train_logits = self._head.logits(batch.states, self._token_ids)
        device = train_logits.device
        return ObjectiveInputs(
            train_logits=train_logits,
            reference_logits=answer.logits.to(device),
            prompt_free_logits=None if answer.prompt_free is None else answer.prompt_free.to(device),
            weights=None if self._weights is None else self._weights.to(device),
            positions=batch.responses.positions.to(device),
            temperature=self._settings.temperature,
            mixture=self._settings.mixture,
            options=self._settings.options,
            tokens=self._facts,
            target_ids=batch.responses.token_ids.to(device),
        )

    def _metrics(self, batch: MicroBatch, answer: Answer, output: ObjectiveOutput) -> Mapping[str, Tensor]:
        divergence = output.divergence.detach()
        metrics = {"kl": divergence, "loss": self.coefficient * divergence, **output.metrics}
        measured, token_ids = self.measured(batch), self._token_ids
        if measured is None or token_ids is None:
            return metrics
        if answer.mass is not None:
            metrics["reference_safety_mass"] = answer.mass
        states = batch.states[measured.to(batch.states.device)]
        return {**metrics, "safety_mass": mass_on(self._head, states, token_ids)}

    def _gradients(self, batch: MicroBatch, inputs: ObjectiveInputs) -> Mapping[str, Tensor]:
        measured = self.measured(batch)
        if measured is None or not self._settings.log_gradients:
            return {}
        assert inputs.target_ids is not None
        chosen = measured.to(inputs.train_logits.device)
        per_token = ("reference_logits", "prompt_free_logits", "positions", "target_ids")
        few: dict[str, Any] = {
            name: values[chosen] for name in per_token if (values := getattr(inputs, name)) is not None
        }

        def term(states: Tensor) -> Tensor:
            logits = self._head.logits(states, self._token_ids)
            return self.coefficient * self._objective.compute(replace(inputs, train_logits=logits, **few)).divergence

        states = batch.states[measured.to(batch.states.device)]
        return gradient_metrics(states, inputs.target_ids[chosen], self._head, term)

    def summary(self) -> str:
        """Objective, weight and what is held."""
        tokens = self._safety_tokens
        if tokens is None or self._token_ids is None:
            scope = "the whole vocabulary"
        else:
            scope = f"{len(self._token_ids)} safety tokens ({tokens.fingerprint})"
        return f"term {self._settings.objective} of weight {self.coefficient:g} on {scope}"


@torch.no_grad()
def mass_on(head: OutputHead, states: Tensor, token_ids: Tensor) -> Tensor:
    """(M,) float32: probability that the whole vocabulary's softmax puts on some tokens."""
    logits = head.logits(states, None)
    return torch.softmax(logits, dim=-1)[:, token_ids.to(logits.device)].sum(dim=-1)


def _weights_of(token_ids: Tensor, tokens: SafetyTokens) -> Tensor:
    every = torch.zeros(tokens.vocabulary_size).index_copy(0, tokens.token_ids, tokens.weights)
    return every.to(token_ids.device)[token_ids]


def _facts_of(token_ids: Tensor, tokens: SafetyTokens) -> TokenFacts:
    def among(opening_tokens: tuple[int, ...]) -> Tensor:
        return torch.isin(token_ids, torch.tensor(opening_tokens, dtype=torch.int64, device=token_ids.device))

    return TokenFacts(token_ids, among(tokens.refusal_opening_tokens), among(tokens.compliance_opening_tokens))


def _spread(count: int, device: torch.device) -> Tensor:
    """At most ``MEASURED_POSITIONS`` indices, evenly spread over ``count``."""
    return torch.linspace(0, count - 1, min(count, MEASURED_POSITIONS), device=device).round().long()
