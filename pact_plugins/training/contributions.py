"""What one micro-batch adds to the trainer's loss: the values of all parts, per response token.

All of them are (N,) values over the micro-batch's N response tokens and join the loss in one way, with the denominator
of the framework's own cross-entropy. So accumulation, packing and the number of ranks change nothing for any of them,
and one kind of receipt checks them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_

import torch
from torch import Tensor

from pact_plugins.batch.micro_batch import MicroBatch
from pact_plugins.batch.openings import RefusalCriterion
from pact_plugins.batch.responses import Responses
from pact_plugins.contracts import Contribution, Part, Reference, ReferenceLogits, ReferenceRequest, Wants
from pact_plugins.training.metrics import MetricMeans
from pact_plugins.training.receipts import ReceiptBook, ReceiptLedger


@dataclass(frozen=True)
class Addition:
    """(N,) float32 to be added to the loss of each response token."""

    values: Tensor
    responses: Responses


@dataclass(frozen=True)
class AskedTokens:
    """What every request of a run names.

    Attributes:
        token_ids: (|S|,) whose logits the reference gives; None for the whole vocabulary.
        header_ids: the assistant header of a prompt-free context.
        refusals: what counts as a refusal of the reference's.
    """

    token_ids: Tensor | None
    header_ids: Sequence[int] | None
    refusals: RefusalCriterion | None


class Contributions:
    """The parts that a configuration switched on, and the one question to the reference for all of them.

    Args:
        parts: in the order in which they are asked.
        reference: None where no part needs one.
        asked: what every request names.
    """

    def __init__(self, parts: Sequence[Part], reference: Reference | None, asked: AskedTokens) -> None:
        self.parts, self._reference, self._asked = tuple(parts), reference, asked

    def ledgers(self) -> list[ReceiptLedger]:
        """One for everything that every micro-batch adds."""
        return [ReceiptLedger(part.coefficient, name=part.name, key=part.key) for part in self.parts if part.adds]

    def counts(self) -> list[str]:
        """Names of the counts that go to the log."""
        return [name for part in self.parts for name in part.counts]

    def __call__(self, batch: MicroBatch, metrics: MetricMeans, receipts: ReceiptBook) -> Addition | None:
        """Compute everything of one forward pass; None where nothing is to be added.

        Args:
            metrics, receipts: where the values for the log and the expected gradients are entered.
        """
        answer = self._ask(batch)
        values: list[Tensor] = []
        for part in self.parts:
            contribution = part.contribute(batch, answer)
            _log(contribution, metrics)
            if contribution.values is not None:
                values.append(_entered(part, contribution, batch, receipts))
            elif part.adds and (contribution.rests or not len(batch.responses)):
                receipts.ledger(part.name).enter_idle()
        return Addition(_sum(values), batch.responses) if values else None

    def _ask(self, batch: MicroBatch) -> ReferenceLogits | None:
        wants = reduce(or_, (part.wants(batch) for part in self.parts), Wants())
        if not wants or self._reference is None:
            return None
        request = ReferenceRequest(
            batch.inputs,
            batch.responses,
            self._asked.token_ids,
            self._asked.header_ids if wants.prompt_free else None,
            batch.autocast,
            wants.measured,
            self._asked.refusals if wants.refusal_mass else None,
        )
        return self._reference.logits(request)


def _log(contribution: Contribution, metrics: MetricMeans) -> None:
    for name, values in contribution.metrics.items():
        metrics.add(name, values)
    for name, number in contribution.counts.items():
        metrics.count(name, number)


def _entered(part: Part, contribution: Contribution, batch: MicroBatch, receipts: ReceiptBook) -> Tensor:
    """The part's weighted values, a gradient expected at them."""
    values, ledger = contribution.values, receipts.ledger(part.name)
    assert values is not None
    covered = batch.so_far if contribution.for_step else batch.own
    if len(batch.responses):
        ledger.enter(values, covered, scale=contribution.scale)
    else:
        ledger.enter_idle(covered, scale=contribution.scale)
    weight = batch.step_weight if contribution.for_step else 1.0
    return part.coefficient * contribution.scale * weight * values


def _sum(values: Sequence[Tensor]) -> Tensor:
    return reduce(torch.add, [value.to(values[0].device) for value in values])
