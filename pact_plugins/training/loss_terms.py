"""What one micro-batch adds to the trainer's loss: the values of all parts, per token.

They stand at the micro-batch's N response tokens, or at all M tokens that are trained on where prompts are too, and
join the loss in one way, with the denominator of the framework's own cross-entropy. So accumulation, packing and the
number of ranks change nothing for any of them, and one kind of receipt checks them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from pact_plugins.batch.host import to_device
from pact_plugins.batch.micro_batch import MicroBatch
from pact_plugins.batch.responses import Responses
from pact_plugins.contracts import LossTerm, Part
from pact_plugins.errors import UnprotectedTrainingError
from pact_plugins.training.asking import Interview
from pact_plugins.training.denominator import Share
from pact_plugins.training.metrics import MetricMeans
from pact_plugins.training.receipts import Receipts


@dataclass(frozen=True)
class Addition:
    """What joins the loss of one micro-batch.

    Attributes:
        values: float32 for each of ``tokens``, to be summed with the trainer's own.
        of_step: without dimensions, for all micro-batches so far of the optimizer step; None for nothing.
        tokens: the response tokens, or all that are trained on.
    """

    values: Tensor
    of_step: Tensor | None
    tokens: Responses

    def joined(self, share: Share) -> Tensor:
        """As one number that is added to the loss."""
        total = self.values.sum() * share.factor
        return total if self.of_step is None else total + self.of_step * share.step_factor


class LossTerms:
    """The parts that a configuration switched on, and the one question to the reference for all of them.

    Args:
        parts: in the order in which their values are summed.
        interview: what asks the reference.
    """

    def __init__(self, parts: Sequence[Part], interview: Interview) -> None:
        self.parts, self._interview = tuple(parts), interview

    def counts(self) -> list[str]:
        """Names of the counts that go to the log."""
        return [name for part in self.parts for name in part.counts]

    def __call__(self, batch: MicroBatch, share: Share, metrics: MetricMeans, receipts: Receipts) -> Addition | None:
        """Compute everything of one forward pass; None where nothing is to be added.

        Args:
            share: of the micro-batch in the trainer's loss.
            metrics, receipts: where the values for the log and the expected gradients are entered.
        """
        answers = self._interview.answers(self.parts, batch)
        values, of_step = list[Tensor](), list[Tensor]()
        for part in self.parts:
            term = part.loss_term(batch, answers[part.name])
            _log(term, metrics)
            if term.values is None:
                _refuse_silence(part, term, batch)
                continue
            factor, found = part.coefficient * term.scale, term.values
            if term.for_step:
                weight = share.whole(batch.so_far) * max(receipts.windows, 1)
                found, amount = found.mean(), weight * term.scale
                of_step.append(factor * weight * found)
            else:
                amount = share.amount(len(found)) * term.scale
                values.append(factor * found)
            if amount:
                receipts.expect(part, found, amount)
        if not values and not of_step:
            return None
        per_token, tokens = _at_tokens(values, batch)
        return Addition(per_token, _sum(of_step) if of_step else None, tokens)


def _log(term: LossTerm, metrics: MetricMeans) -> None:
    for name, values in term.metrics.items():
        metrics.add(name, values)
    for name, number in term.counts.items():
        metrics.count(name, number)


def _refuse_silence(part: Part, term: LossTerm, batch: MicroBatch) -> None:
    if part.adds and not term.rests and len(batch.responses):
        raise UnprotectedTrainingError(
            f"the {part.name} adds nothing to a micro-batch and does not say that it rests there (LossTerm.rests)"
        )


def _at_tokens(values: Sequence[Tensor], batch: MicroBatch) -> tuple[Tensor, Responses]:
    """The sum of all parts' values; at every token that is trained on, where those of one part stand there."""
    count, everywhere = len(batch.responses), len(batch.labelled)
    if not values:
        return torch.zeros(count, device=batch.responses.rows.device), batch.responses
    if all(len(value) == count for value in values):
        return _sum(values), batch.responses
    places = to_device(batch.places, values[0].device)

    def spread(value: Tensor) -> Tensor:
        found = value.to(values[0].device)
        return found if len(found) == everywhere else found.new_zeros(everywhere).index_add(0, places, found)

    return _sum([spread(value) for value in values]), batch.labelled


def _sum(values: Sequence[Tensor]) -> Tensor:
    return reduce(torch.add, [value.to(values[0].device) for value in values])
