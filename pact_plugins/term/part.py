"""The term as a part of the loss: from hidden states to a divergence per response token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy
import torch
from torch import Tensor

from pact_plugins.batch.host import Array, to_device
from pact_plugins.batch.micro_batch import MicroBatch
from pact_plugins.batch.narrowing import spread
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
        """The objective's divergence of each response token; 0 in responses that ``rows`` leaves out."""
        held = self._held(batch, answer)
        inputs = self._inputs(batch, answer, held)
        output = self._objective.compute(inputs)
        if held is not None:
            of_each = {name: spread(value, held, len(batch.responses)) for name, value in output.metrics.items()}
            output = ObjectiveOutput(spread(output.divergence, held, len(batch.responses)), of_each)
        metrics = {**self._metrics(batch, answer, output), **self._gradients(batch, inputs, held)}
        return LossTerm(output.divergence, metrics)

    def _held(self, batch: MicroBatch, answer: Answer) -> Array | None:
        """(M,) indices into the response tokens; None for all of them."""
        if self._settings.rows == "all":
            return None
        assert answer.refusal_mass is not None
        assert self._safety_tokens is not None
        refused = numpy.asarray(answer.refusal_mass > self._safety_tokens.refusal_threshold)
        held = refused if self._settings.rows == "refused" else ~refused
        tokens: Array = held[batch.responses.on_host[3]].nonzero()[0]
        return tokens

    def _inputs(self, batch: MicroBatch, answer: Answer, held: Array | None) -> ObjectiveInputs:
        def of_held(values: Tensor) -> Tensor:
            return values if held is None else values.index_select(0, to_device(held, values.device))

        assert answer.logits is not None
        train_logits = self._head.logits(of_held(batch.states), self._token_ids)
        device = train_logits.device
        return ObjectiveInputs(
            train_logits=train_logits,
            reference_logits=of_held(answer.logits).to(device),
            prompt_free_logits=None if answer.prompt_free is None else of_held(answer.prompt_free).to(device),
            weights=None if self._weights is None else self._weights.to(device),
            positions=of_held(batch.responses.positions).to(device),
            temperature=self._settings.temperature,
            mixture=self._settings.mixture,
            options=self._settings.options,
            tokens=self._facts,
            target_ids=of_held(batch.responses.token_ids).to(device),
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

    def _gradients(self, batch: MicroBatch, inputs: ObjectiveInputs, held: Array | None) -> Mapping[str, Tensor]:
        count = len(batch.responses) if held is None else len(held)
        if not batch.measure or not self._settings.log_gradients or not count:
            return {}
        assert inputs.target_ids is not None
        chosen = _spread(count, inputs.train_logits.device)
        per_token = ("reference_logits", "prompt_free_logits", "positions", "target_ids")
        few: dict[str, Any] = {
            name: values[chosen] for name in per_token if (values := getattr(inputs, name)) is not None
        }

        def term(states: Tensor) -> Tensor:
            logits = self._head.logits(states, self._token_ids)
            return self.coefficient * self._objective.compute(replace(inputs, train_logits=logits, **few)).divergence

        states = batch.states if held is None else batch.states[to_device(held, batch.states.device)]
        states = states[chosen.to(states.device)]
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
