"""What one micro-batch adds to the trainer's loss: the term, the gate's correction and the anchor, per response token.

All of them are (N,) values over the micro-batch's N response tokens and join the loss in one way, with the denominator
of the framework's own cross-entropy. So accumulation, packing and the number of ranks change nothing for any of them,
and one kind of receipt checks them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from pact_plugins.guard import Draw
from pact_plugins.modeling import AutocastState
from pact_plugins.training.anchor import Anchor
from pact_plugins.training.metrics import MetricMeans
from pact_plugins.training.receipts import ReceiptBook, ReceiptLedger
from pact_plugins.training.responses import IGNORE_INDEX, Responses
from pact_plugins.training.row_gate import RowGate
from pact_plugins.training.term import TermComputer


@dataclass(frozen=True)
class Contribution:
    """``coefficient * values`` is added to the summed per-token loss; ``values`` (N,) carry gradient."""

    name: str
    values: Tensor
    coefficient: float


@dataclass(frozen=True)
class Addition:
    """(N,) float32 to be added to the loss of each response token."""

    values: Tensor
    responses: Responses


class ContributionComputer:
    """Holds the parts that a configuration switched on.

    Args:
        term: computes the term, and the reference's refusal mass where the gate asks for it.
        coefficient: of the term; 0 leaves it out.
        gate, anchor: None where they are off.
        anchor_coefficient: of the anchor.
    """

    def __init__(
        self,
        term: TermComputer,
        *,
        coefficient: float,
        gate: RowGate | None = None,
        anchor: Anchor | None = None,
        anchor_coefficient: float = 0.0,
    ) -> None:
        self._term, self.gate, self._anchor = term, gate, anchor
        self._coefficient, self._anchor_coefficient = coefficient, anchor_coefficient

    def ledgers(self) -> list[ReceiptLedger]:
        """One for everything that every micro-batch adds."""
        ledgers = []
        if self._coefficient:
            ledgers.append(ReceiptLedger(self._coefficient))
        if self.gate is not None and self.gate.weighs:
            ledgers.append(ReceiptLedger(1.0, name="gate", key="1"))
        if self._anchor is not None:
            ledgers.append(ReceiptLedger(self._anchor_coefficient, name="anchor", key="anchor_coef"))
        return ledgers

    def counts(self) -> list[str]:
        """Names of the counts that go to the log."""
        return [] if self.gate is None else ["gated_rows"]

    def __call__(
        self,
        labels: Tensor,
        decoder_inputs: dict[str, Any],
        hidden_states: Tensor,
        autocast: AutocastState,
        *,
        log_probs: Tensor | None,
        draw: Draw,
        measure: bool,
        metrics: MetricMeans,
        receipts: ReceiptBook,
    ) -> Addition | None:
        """Compute everything of one forward pass; None where nothing is to be added.

        Args:
            labels, decoder_inputs, hidden_states, autocast, measure: see ``TermComputer``.
            log_probs: (B, L - 1) per-token log-probabilities where the trainer reads these, else None.
            draw: the place of the micro-batch in the run.
            metrics, receipts: where the values for the log and the expected gradients are entered.
        """
        term = self._term(labels, decoder_inputs, hidden_states, autocast, measure=measure)
        for name, values in term.metrics.items():
            metrics.add(name, values)
        contributions = []
        if term.divergence is not None:
            contributions.append(Contribution("term", term.divergence, self._coefficient))
        if self.gate is not None:
            assert term.refusal_mass is not None
            gated = self.gate.weigh(term.responses, decoder_inputs, labels, term.refusal_mass)
            metrics.count("gated_rows", gated.count)
            if self.gate.weighs:
                values = self.gate.correction(term.responses, gated.weights, term.hidden_states, log_probs)
                contributions.append(Contribution("gate", values, 1.0))
        if self._anchor is not None:
            divergence = self._anchor(term.responses.count, draw, autocast)
            metrics.add("anchor_kl", divergence)
            values = divergence.mean().expand(len(term.responses))
            contributions.append(Contribution("anchor", values, self._anchor_coefficient))
        if len(term.responses):
            receipts.enter(contributions, labels=int((labels != IGNORE_INDEX).sum()))
        else:
            receipts.enter_idle()
        return Addition(_sum(contributions), term.responses) if contributions else None


def _sum(contributions: Sequence[Contribution]) -> Tensor:
    device = contributions[0].values.device
    return reduce(torch.add, [entry.coefficient * entry.values.to(device) for entry in contributions])
