"""Gradient receipts: proof that what was added reached the loss that was back-propagated."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from pact_plugins.batch.micro_batch import NOTHING, Counts, MicroBatch
from pact_plugins.contracts import Part
from pact_plugins.distributed import summed, world_size
from pact_plugins.errors import UnprotectedTrainingError
from pact_plugins.training.denominator import Division, Share

_RELATIVE_TOLERANCE = 1e-2


@dataclass(frozen=True)
class _Facts:
    """Sums over one part's gradients of a step: their own, and how many of them something is wrong with."""

    total: float
    uneven: float
    turned: float
    infinite: float


@dataclass
class _Sum:
    """What one part owes and has paid in an optimizer step.

    Attributes:
        owed: gradients that must arrive, each paid when its tensor is there.
        amount: what they come to in the open window, see ``Share.amount``.
        low, high: what those of earlier windows come to, with a coefficient of 1 and the larger or smaller divisor.
    """

    part: Part
    owed: list[list[Tensor]] = field(default_factory=list)
    amount: float = 0.0
    low: float = 0.0
    high: float = 0.0

    def close_window(self, low: float, high: float) -> None:
        self.low, self.high, self.amount = self.low + self.amount / high, self.high + self.amount / low, 0.0


class Receipts:
    """One sum for each part that adds to the loss, checked before the optimizer moves.

    The gradient that arrives at each token's value is ``coefficient / N`` times the trainer's own factors, where N is
    what it divides its cross-entropy by. Summed over an optimizer step and averaged over the ranks, that is the
    coefficient times the loss scale: one number that tells a wrong denominator, a missed micro-batch and a doubled term
    apart from a right one. Where labels are more than response tokens, it is their share of it.

    Attributes:
        receipts: gradients that arrived and were checked.
        response_tokens: in micro-batches whose loss was added to.
        optimizer_steps: that were checked.
        awaits_skip: the step that was checked last must be skipped by the gradient scaler: its values are not finite.
    """

    def __init__(self, parts: Iterable[Part]) -> None:
        self._sums = {part.name: _Sum(part) for part in parts if part.adds}
        self._share: Share | None = None
        self._loss: Tensor | None = None
        self._window, self._step, self.windows = NOTHING, NOTHING, 0
        self._from_unlabelled: list[Tensor] = []
        self._closed_steps = 0
        self.receipts = self.response_tokens = self.optimizer_steps = 0
        self.awaits_skip = False

    def __len__(self) -> int:
        return len(self._sums)

    def begin_window(self) -> None:
        """The next micro-batches are divided together. Usually they are an optimizer step.

        Where a stream ends with fewer micro-batches than are accumulated, their gradients stay for the next step.
        """
        self._close_window()
        self.windows += 1

    def enter(self, batch: MicroBatch, share: Share, loss: Tensor | None) -> None:
        """A micro-batch of the open window, before anything of it is expected.

        Args:
            loss: the trainer's, of any shape, that values will join; None where it has none.
        """
        self._window, self._share = self._window + batch.own, share
        if batch.own.predicted:
            self._loss = None if loss is None else loss.detach().sum()
        else:
            # Without a label some heads have no loss (0 / 0), and no gradient.
            self._loss = None
            if batch.hidden_states.requires_grad:
                batch.hidden_states.register_hook(self._from_nowhere)

    def expect(self, part: Part, values: Tensor, amount: float) -> None:
        """Expect a gradient at ``values``.

        Args:
            values: of ``part``, unweighted, of any shape.
            amount: what they come to; see ``Share.amount``.

        Raises:
            UnprotectedTrainingError: nothing that trains lies behind them.
        """
        if not values.requires_grad:
            raise UnprotectedTrainingError(
                f"the {part.name} has no gradient, so that nothing which trains can be held by it: the model was "
                "frozen, or its adapter merged, unloaded or switched off"
            )
        found, paid, step = self._sums[part.name], list[Tensor](), self._closed_steps
        found.owed.append(paid)
        found.amount += amount

        finite = values.detach().sum().isfinite()
        if self._loss is not None:
            finite = finite & self._loss.to(finite.device).isfinite()

        def keep(gradient: Tensor) -> None:
            if step != self._closed_steps:
                raise UnprotectedTrainingError(
                    f"a gradient came back to the {part.name} after its optimizer step was checked: something runs the "
                    "backward pass a second time"
                )
            paid.append(_facts(gradient.detach(), finite))

        values.register_hook(keep)

    def settle(self, *, loss_scale: float, exact: bool, suspects: str) -> None:
        """Check and close the sums of one optimizer step. Every rank must call it.

        The device is read once and the ranks speak once, however many parts and micro-batches there are.

        Args:
            loss_scale: the factor that a gradient scaler puts on the loss.
            exact: check the size, or only that each gradient arrived.
            suspects: what may be at fault, for the message.

        Raises:
            UnprotectedTrainingError: a gradient is missing, differs between tokens, or has the wrong size; or the
                trainer learns from labels that it does not give to the model.
        """
        if not self._sums:
            return
        sums = list(self._sums.values())
        divides_by_all = self._share is not None and self._share.division is Division.ALL
        if not divides_by_all:
            self._close_window()
        window, step = self._window, self._step + self._window
        found, unlabelled = self._read(sums)
        own = [
            [len(one.owed) - sum(map(bool, one.owed)), one.amount, one.low, one.high, *_bounds(one.amount, window)]
            for one in sums
        ]
        arrived = sum(len(one.owed) for one in sums)
        self._clear()
        general = [float(not step.passes), unlabelled, float(window.predicted), float(window.labels)]
        told = iter(summed([*general, *(number for one in own for number in one), *(n for f in found for n in f)]))
        silent, from_nowhere, predicted, labels = (next(told) for _ in general)
        owed = [[next(told) for _ in one] for one in own]
        for one, numbers, facts in zip(sums, owed, [_Facts(*(next(told) for _ in f)) for f in found], strict=True):
            low, high = _expected(numbers, predicted, labels)
            paid = replace(facts, total=facts.total / world_size())
            self._check(one.part, _Account(numbers[0], low, high, paid), silent, loss_scale, exact, suspects)
        if from_nowhere:
            raise UnprotectedTrainingError(
                "the trainer learns from micro-batches in which it gave the model no label: it computes a loss of its "
                f"own from labels that nobody else sees, and nothing of it is protected; {suspects}"
            )
        self.optimizer_steps += 1
        self.receipts += arrived
        self.response_tokens += step.tokens if arrived else 0

    def _close_window(self) -> None:
        if not self._window.passes or self._share is None:
            return
        name = self._share.window_divisor
        low = high = 1.0 if name is None else float(max(getattr(self._window, name), 1))
        if self._share.division is Division.ALL:
            high = float(max(self._window.labels, 1))
        for one in self._sums.values():
            one.close_window(low, high)
        self._step, self._window = self._step + self._window, NOTHING

    def _clear(self) -> None:
        self._sums = {name: _Sum(one.part) for name, one in self._sums.items()}
        self._window, self._step, self.windows, self._from_unlabelled = NOTHING, NOTHING, 0, []
        self._closed_steps += 1
        self.awaits_skip = False

    def _from_nowhere(self, gradient: Tensor) -> None:
        self._from_unlabelled.append((gradient.detach().nan_to_num() != 0).any().double())

    def _read(self, sums: Sequence[_Sum]) -> tuple[list[list[float]], float]:
        """Each part's facts, and whether a gradient came from nowhere, in one copy from the device."""
        rows = [facts for one in sums for paid in one.owed for facts in paid]
        rows += [torch.nn.functional.pad(flag.reshape(1), (0, 3)) for flag in self._from_unlabelled]
        read: Any = iter(torch.stack([row.to(rows[0]) for row in rows]).tolist() if rows else ())
        found = []
        for one in sums:
            own = [next(read) for paid in one.owed for _ in paid]
            found.append([sum(values) for values in zip(*own, strict=True)] if own else [0.0] * 4)
        return found, sum(row[0] for row in read)

    def _check(
        self, part: Part, account: _Account, silent: float, loss_scale: float, exact: bool, suspects: str
    ) -> None:
        paid = account.paid
        if silent or account.missing:
            raise UnprotectedTrainingError(_nothing_arrived(part.name, bool(silent), suspects))
        if paid.infinite or not math.isfinite(paid.total):
            if loss_scale == 1.0:
                raise UnprotectedTrainingError(
                    f"the {part.name}, or the loss that it joins, is not a finite number: a step by its gradient holds "
                    "nothing. Lower the learning rate, look at the data, or at temperature and weight"
                )
            # An overflow: the scaler has to skip this step.
            self.awaits_skip = True
            return
        if account.high <= 0:
            return
        _check_direction(part, paid, suspects)
        if exact:
            _check_size(part, account, loss_scale, suspects)


@dataclass(frozen=True)
class _Account:
    """Of one part and all ranks: gradients that are missing, the bounds of their sum at a coefficient of 1, and it."""

    missing: float
    low: float
    high: float
    paid: _Facts


def _bounds(amount: float, window: Counts) -> tuple[float, float]:
    """This rank's amount divided by its own labels, all of them or those that something predicts."""
    return amount / max(window.labels, 1), amount / max(window.predicted, 1)


def _expected(numbers: Sequence[float], predicted: float, labels: float) -> tuple[float, float]:
    """The least and the most that a sum can be; the ranks may divide by all labels of all, or each by its own."""
    _, amount, low, high, own_low, own_high = numbers
    ranks = world_size()
    least = min(amount / max(labels, 1), own_low / ranks)
    most = max(amount / max(predicted, 1), own_high / ranks)
    return low / ranks + least, high / ranks + most


def _check_direction(part: Part, paid: _Facts, suspects: str) -> None:
    """Whatever its size, a weight that is negative, zero or uneven is no protection."""
    if paid.turned:
        raise UnprotectedTrainingError(
            f"the {part.name} reached the loss of some tokens with a weight of zero or less, which pushes them "
            f"away from the reference: the trainer's loss is no cross-entropy of responses to be learnt; {suspects}"
        )
    if paid.uneven:
        raise UnprotectedTrainingError(
            f"the trainer weights the {part.name}'s tokens unevenly, so its loss is no plain mean over response "
            "tokens; " + suspects
        )


def _check_size(part: Part, account: _Account, loss_scale: float, suspects: str) -> None:
    total, scale = account.paid.total, part.coefficient * loss_scale
    low, high = account.low * scale, account.high * scale
    if not low * (1 - _RELATIVE_TOLERANCE) <= total <= high * (1 + _RELATIVE_TOLERANCE):
        raise UnprotectedTrainingError(
            f"the {part.name} reached the loss with a total weight of {total:.6g} instead of {high:.6g} "
            f"({part.key} times the loss scale): the trainer's denominator is not the one it told the model; "
            f"{suspects} Set receipts: present to train with this weight all the same."
        )


def _facts(gradient: Tensor, finite: Tensor) -> Tensor:
    """(4,) on the gradient's device, the fields of ``_Facts``: its sum, and whether anything is wrong with it."""
    if not gradient.numel():
        return gradient.new_zeros(4, dtype=torch.float32)
    # Apple's devices have no float64.
    wide = gradient if gradient.device.type == "mps" else gradient.double()
    lowest, highest = wide.aminmax()
    uneven = (highest - lowest) > _RELATIVE_TOLERANCE * torch.maximum(lowest.abs(), highest.abs())
    infinite = ~(finite.to(wide.device) & wide.isfinite().all())
    return torch.stack([wide.sum(), uneven.to(wide.dtype), (lowest <= 0).to(wide.dtype), infinite.to(wide.dtype)])


def _nothing_arrived(name: str, silent: bool, suspects: str) -> str:
    what = (
        f"the model was not called with labels in this step, so the {name} was never computed"
        if silent
        else f"the {name} was computed, but no gradient came back to it: the trainer back-propagated another loss"
    )
    return f"training would go on unprotected: {what}; {suspects}"
