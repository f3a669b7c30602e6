"""The PACT term as a part of the loss: from hidden states to a divergence per response token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pact_plugins.batch.micro_batch import MicroBatch
from pact_plugins.contracts import Contribution, ObjectiveInputs, ObjectiveOutput, Part, ReferenceLogits, Wants
from pact_plugins.modeling import LiveHead
from pact_plugins.reference.online import safety_mass
from pact_plugins.training.watched_tokens import WatchedTokens

if TYPE_CHECKING:
    from pact_plugins.config import PACTConfig

# Positions whose whole-vocabulary softmax is computed for the log; enough for a mean, few enough to cost nothing.
MEASURED_POSITIONS = 32


class Term(Part):
    """Holds the trained model's confidence on the safety tokens to the reference's.

    Args:
        config: objective, coefficient and temperature.
        head: the trained model's output embedding.
        watched: the safety tokens and their weights.
    """

    name, key = "term", "kl_coef"

    def __init__(self, config: PACTConfig, head: LiveHead, watched: WatchedTokens) -> None:
        self._config, self._objective = config, config.objective_spec()
        self._head, self._watched = head, watched
        self.coefficient = config.coefficient

    def wants(self, batch: MicroBatch) -> Wants:
        """Logits always, prompt-free ones where the objective's gate is on, and a few masses for the log."""
        measured = None
        if batch.measure and len(batch.responses):
            measured = _spread(len(batch.responses), batch.labels.device)
        return Wants(True, self._objective.needs_prompt_free(self._config.gate), measured=measured)

    def contribute(self, batch: MicroBatch, answer: ReferenceLogits | None) -> Contribution:
        """The objective's divergence of each response token."""
        assert answer is not None
        output = self._objective.compute(self._inputs(batch, answer))
        return Contribution(output.divergence, self._metrics(batch, answer, output))

    def _inputs(self, batch: MicroBatch, answer: ReferenceLogits) -> ObjectiveInputs:
        train_logits = self._head.logits(batch.states, self._watched.token_ids)
        device, weights = train_logits.device, self._watched.weights
        return ObjectiveInputs(
            train_logits=train_logits,
            reference_logits=answer.full.to(device),
            prompt_free_logits=None if answer.prompt_free is None else answer.prompt_free.to(device),
            weights=None if weights is None else weights.to(device),
            positions=batch.responses.positions.to(device),
            temperature=self._config.kl_temperature,
            gate=self._config.gate,
            options=self._config.objective_options,
            target_ids=batch.responses.token_ids.to(device),
        )

    def _metrics(self, batch: MicroBatch, answer: ReferenceLogits, output: ObjectiveOutput) -> Mapping[str, Tensor]:
        metrics = {"kl": output.divergence, **output.metrics}
        measured, token_ids = self.wants(batch).measured, self._watched.token_ids
        if measured is None or token_ids is None:
            return metrics
        if answer.safety_mass is not None:
            metrics["reference_safety_mass"] = answer.safety_mass
        with torch.no_grad():
            mass = safety_mass(self._head, batch.states[measured.to(batch.states.device)], token_ids)
        assert mass is not None
        return {**metrics, "safety_mass": mass}

    def summary(self) -> str:
        """Objective, coefficient and what is held."""
        tokens = self._watched.safety_tokens
        if tokens is None or self._objective.full_vocabulary:
            scope = "the whole vocabulary"
        else:
            scope = f"{len(tokens)} safety tokens ({tokens.fingerprint})"
        return f"objective {self._config.objective}, kl_coef {self.coefficient:g}, {scope}"


def _spread(count: int, device: torch.device) -> Tensor:
    """At most ``MEASURED_POSITIONS`` indices, evenly spread over ``count``."""
    return torch.linspace(0, count - 1, min(count, MEASURED_POSITIONS), device=device).round().long()
