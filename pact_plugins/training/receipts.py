"""Gradient receipts: proof that what was added reached the loss that was back-propagated."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import torch
from torch import Tensor

from pact_plugins.batch.micro_batch import NOTHING, Counts
from pact_plugins.distributed import summed, world_size
from pact_plugins.errors import UnprotectedTrainingError

_RELATIVE_TOLERANCE = 1e-2


@dataclass
class _Receipt:
    """One entry; ``arrived`` is (3,) of its gradient: the sum, whether it is uneven, whether turned."""

    covers: Counts
    arrived: Tensor | None = None


class ReceiptBook:
    """One ledger for each thing that is added to the loss; they are settled together."""

    def __init__(self, ledgers: Sequence[ReceiptLedger]) -> None:
        self._ledgers = {ledger.name: ledger for ledger in ledgers}
        self.adds_means = False
        """Whether the trainer adds up the means of micro-batches, instead of dividing by all labels of the step."""

    def __len__(self) -> int:
        return len(self._ledgers)

    def ledger(self, name: str) -> ReceiptLedger:
        """The ledger of the part of that name."""
        return self._ledgers[name]

    def enter_idle(self) -> None:
        """A micro-batch without a response token: nothing to protect, nothing to expect."""
        for ledger in self._ledgers.values():
            ledger.enter_idle()

    def settle(self, *, loss_scale: float | None, exact: bool, suspects: str) -> None:
        """Settle every ledger; see ``ReceiptLedger.settle``. Every rank must call it.

        The device is read once and the ranks speak once, however many ledgers and micro-batches there are.
        """
        terms = _Terms(loss_scale, exact, suspects, self.adds_means)
        _settle(list(self._ledgers.values()), terms)

    @property
    def receipts(self) -> int:
        """Gradients that arrived and were checked."""
        return sum(ledger.receipts for ledger in self._ledgers.values())

    @property
    def response_tokens(self) -> int:
        """Response tokens whose loss was added to."""
        return max((ledger.response_tokens for ledger in self._ledgers.values()), default=0)

    @property
    def optimizer_steps(self) -> int:
        """Optimizer steps that were checked."""
        return max((ledger.optimizer_steps for ledger in self._ledgers.values()), default=0)


class ReceiptLedger:
    """Every micro-batch's values are entered; every entry must be paid by a gradient before the optimizer moves.

    The gradient that arrives at each token's value is ``coefficient / N`` times the trainer's own factors, where N is
    the denominator of its cross-entropy. Summed over an accumulated batch and averaged over the ranks, that is the
    coefficient times the loss scale, whichever of the usual denominators the trainer uses: one number that tells a
    wrong denominator, a missed micro-batch and a doubled term apart from a right one.

    Args:
        coefficient: the factor on the values in the loss.
        name: of what is added: ``term``, ``gate``, ``anchor``.
        key: the setting that holds the coefficient, for messages.
    """

    def __init__(self, coefficient: float, *, name: str = "term", key: str = "kl_coef") -> None:
        self.name, self._key = name, key
        self._coefficient = coefficient
        self._open: list[_Receipt] = []
        self._idle_micro_batches, self._idle_labels, self._scale = 0, 0, 1.0
        self.receipts = 0
        self.response_tokens = 0
        self.optimizer_steps = 0

    def enter(self, values: Tensor, covers: Counts, *, scale: float = 1.0) -> None:
        """Expect a gradient at ``values`` (N,).

        Args:
            covers: what the micro-batches hold that the values stand for. Labels in column 0 count, as they do for some
                trainers.
            scale: a further factor on the step's values in the loss.

        Raises:
            UnprotectedTrainingError: nothing that trains lies behind them.
        """
        if not values.requires_grad:
            raise UnprotectedTrainingError(
                f"the {self.name} has no gradient, so that nothing which trains can be held by it: the model was "
                "frozen, or its adapter merged, unloaded or switched off"
            )
        receipt = _Receipt(covers)
        self._open.append(receipt)
        self._scale = scale

        def keep(gradient: Tensor) -> None:
            receipt.arrived = _facts(gradient.detach())

        values.register_hook(keep)

    def enter_idle(self, covers: Counts = NOTHING, *, scale: float | None = None) -> None:
        """A micro-batch without a response token: nothing to protect, nothing to expect.

        Args:
            covers: what is left out, of earlier micro-batches that it should have stood for.
            scale: as of ``enter``, which the values of other ranks have in this step.
        """
        self._idle_micro_batches += 1
        self._idle_labels += covers.labels
        self._scale = self._scale if scale is None else scale

    def settle(self, *, loss_scale: float | None, exact: bool, suspects: str, adds_means: bool = False) -> None:
        """Check and close the entries of one optimizer step. Every rank must call it.

        Args:
            loss_scale: the factor that a gradient scaler puts on the loss; None where it is unknown.
            exact: check the size, or only that each gradient arrived.
            suspects: what may be at fault, for the message.
            adds_means: each micro-batch brings the whole coefficient.

        Raises:
            UnprotectedTrainingError: a gradient is missing, differs between tokens, or has the wrong size.
        """
        _settle([self], _Terms(loss_scale, exact, suspects, adds_means))

    def _close(self, adds_means: bool) -> _Closed:
        """Take the entries of the step away, as numbers to be summed over the ranks and facts yet to be read."""
        entries, idle, scale = self._open, self._idle_micro_batches, self._scale
        covered = reduce(add, (entry.covers for entry in entries), Counts(labels=self._idle_labels))
        self._open, self._idle_micro_batches, self._idle_labels, self._scale = [], 0, 0, 1.0
        means = covered.micro_batches if adds_means else 1.0
        numbers = {
            "missing": sum(entry.arrived is None for entry in entries),
            "silent": int(not entries and not idle),
            "tokens": covered.tokens,
            "labels": covered.labels,
            "means": scale * means / world_size(),
        }
        return _Closed(numbers, [entry.arrived for entry in entries if entry.arrived is not None])

    def _count(self, closed: _Closed) -> None:
        self.optimizer_steps += 1
        self.receipts += len(closed.facts)
        self.response_tokens += int(closed.numbers["tokens"])

    def _check(self, summary: dict[str, float], terms: _Terms) -> None:
        if summary["silent"] or summary["missing"]:
            raise UnprotectedTrainingError(_nothing_arrived(self.name, bool(summary["silent"]), terms.suspects))
        is_known = terms.loss_scale is not None or not terms.exact
        if summary["tokens"] and is_known and math.isfinite(summary["total"]):
            self._check_direction(summary, terms.suspects)
        if terms.exact and summary["tokens"]:
            self._check_size(summary, terms.loss_scale, terms.suspects)

    def _check_direction(self, summary: dict[str, float], suspects: str) -> None:
        """Whatever its size, a weight that is negative, zero or uneven is no protection."""
        if summary["turned"]:
            raise UnprotectedTrainingError(
                f"the {self.name} reached the loss of some tokens with a weight of zero or less, which pushes them "
                f"away from the reference: the trainer's loss is no cross-entropy of responses to be learnt; {suspects}"
            )
        if summary["uneven"]:
            raise UnprotectedTrainingError(
                f"the trainer weights the {self.name}'s tokens unevenly, so its loss is no plain mean over response "
                "tokens; " + suspects
            )

    def _check_size(self, summary: dict[str, float], loss_scale: float | None, suspects: str) -> None:
        total = summary["total"]
        if loss_scale is None or not math.isfinite(total):
            # An overflow under a gradient scaler: the scaler skips this step.
            return
        expected = self._coefficient * loss_scale * summary["means"]
        lowest = expected * summary["tokens"] / max(summary["labels"], 1)
        if not lowest * (1 - _RELATIVE_TOLERANCE) <= total <= expected * (1 + _RELATIVE_TOLERANCE):
            raise UnprotectedTrainingError(
                f"the {self.name} reached the loss with a total weight of {total:.6g} instead of {expected:.6g} "
                f"({self._key} times the loss scale): the trainer's denominator is not the one it told the model; "
                f"{suspects} Set receipts: present to train with this weight all the same."
            )


@dataclass(frozen=True)
class _Terms:
    """See ``ReceiptLedger.settle``."""

    loss_scale: float | None
    exact: bool
    suspects: str
    adds_means: bool


@dataclass(frozen=True)
class _Closed:
    """A ledger's step: numbers of this rank, and (3,) facts of each gradient, on the device."""

    numbers: dict[str, float]
    facts: list[Tensor]


def _settle(ledgers: Sequence[ReceiptLedger], terms: _Terms) -> None:
    closed = [ledger._close(terms.adds_means) for ledger in ledgers]
    summaries = _across_ranks([one.numbers | found for one, found in zip(closed, _read(closed), strict=True)])
    for ledger, one, summary in zip(ledgers, closed, summaries, strict=True):
        ledger._check(summary, terms)
        ledger._count(one)


def _facts(gradient: Tensor) -> Tensor:
    """(3,) on the gradient's device: its sum, whether its tokens differ, whether one of them is zero or less."""
    if not gradient.numel():
        return gradient.new_zeros(3, dtype=torch.float32)
    # Apple's devices have no float64.
    wide = gradient if gradient.device.type == "mps" else gradient.double()
    lowest, highest = wide.aminmax()
    uneven = (highest - lowest) > _RELATIVE_TOLERANCE * torch.maximum(lowest.abs(), highest.abs())
    return torch.stack([wide.sum(), uneven.to(wide.dtype), (lowest <= 0).to(wide.dtype)])


def _read(closed: Sequence[_Closed]) -> list[dict[str, float]]:
    """Each ledger's ``total``, ``uneven`` and ``turned``, in one copy from the device."""
    facts = [fact for one in closed for fact in one.facts]
    rows: Any = iter(torch.stack([fact.to(facts[0].device) for fact in facts]).tolist() if facts else ())
    found = []
    for one in closed:
        own = [next(rows) for _ in one.facts]
        total, uneven, turned = (sum(values) for values in zip(*own, strict=True)) if own else (0.0, 0.0, 0.0)
        found.append({"total": total, "uneven": uneven, "turned": turned})
    return found


def _across_ranks(numbers: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
    """Sum over the ranks, but for ``total``, which is averaged as the gradients are."""
    values = iter(summed([value for one in numbers for value in one.values()]))
    summaries = [{name: next(values) for name in one} for one in numbers]
    return [summary | {"total": summary["total"] / world_size()} for summary in summaries]


def _nothing_arrived(name: str, silent: bool, suspects: str) -> str:
    what = (
        f"the model was not called with labels in this step, so the {name} was never computed"
        if silent
        else f"the {name} was computed, but no gradient came back to it: the trainer back-propagated another loss"
    )
    return f"training would go on unprotected: {what}; {suspects}"
