"""Gradient receipts: proof that what was added reached the loss that was back-propagated."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pact_plugins.distributed import summed, world_size
from pact_plugins.errors import UnprotectedTrainingError

_RELATIVE_TOLERANCE = 1e-2


@dataclass
class _Receipt:
    tokens: int
    labels: int
    gradient: Tensor | None = None


class ReceiptBook:
    """One ledger for each thing that is added to the loss; they are settled together."""

    def __init__(self, ledgers: Sequence[ReceiptLedger]) -> None:
        self._ledgers = {ledger.name: ledger for ledger in ledgers}
        self.adds_means = False
        """Whether the trainer adds up the means of micro-batches, instead of dividing by all labels of the step."""

    def __len__(self) -> int:
        return len(self._ledgers)

    def enter(self, values: Mapping[str, Tensor], *, labels: int) -> None:
        """Expect a gradient at the (N,) values of each part."""
        for name, entered in values.items():
            self._ledgers[name].enter(entered, labels=labels)

    def enter_idle(self) -> None:
        """A micro-batch without a response token: nothing to protect, nothing to expect."""
        for ledger in self._ledgers.values():
            ledger.enter_idle()

    def settle(self, *, loss_scale: float | None, exact: bool, suspects: str) -> None:
        """Settle every ledger; see ``ReceiptLedger.settle``. Every rank must call it."""
        for ledger in self._ledgers.values():
            ledger.settle(loss_scale=loss_scale, exact=exact, suspects=suspects, adds_means=self.adds_means)

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
        self._idle_micro_batches = 0
        self.receipts = 0
        self.response_tokens = 0
        self.optimizer_steps = 0

    def enter(self, values: Tensor, *, labels: int) -> None:
        """Expect a gradient at ``values`` (N,).

        Args:
            labels: how many labels the batch has, those in column 0 included; some trainers count these too.

        Raises:
            UnprotectedTrainingError: nothing that trains lies behind them.
        """
        if not values.requires_grad:
            raise UnprotectedTrainingError(
                f"the {self.name} has no gradient, so that nothing which trains can be held by it: the model was "
                "frozen, or its adapter merged, unloaded or switched off"
            )
        receipt = _Receipt(tokens=values.numel(), labels=labels)
        self._open.append(receipt)

        def keep(gradient: Tensor) -> None:
            receipt.gradient = gradient.detach()

        values.register_hook(keep)

    def enter_idle(self) -> None:
        """A micro-batch without a response token: nothing to protect, nothing to expect."""
        self._idle_micro_batches += 1

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
        entries, idle = self._open, self._idle_micro_batches
        self._open, self._idle_micro_batches = [], 0
        missing = sum(entry.gradient is None for entry in entries)
        summary = _across_ranks(
            missing=missing,
            silent=int(not entries and not idle),
            uneven=int(any(_is_uneven(entry.gradient) for entry in entries)),
            turned=int(any(_is_turned(entry.gradient) for entry in entries)),
            total=_total(entries),
            tokens=sum(entry.tokens for entry in entries),
            labels=sum(entry.labels for entry in entries),
            means=sum(entry.tokens > 0 for entry in entries) / world_size() if adds_means else 1.0 / world_size(),
        )
        if summary["silent"] or summary["missing"]:
            raise UnprotectedTrainingError(_nothing_arrived(self.name, bool(summary["silent"]), suspects))
        if summary["tokens"] and (loss_scale is not None or not exact) and math.isfinite(summary["total"]):
            self._check_direction(summary, suspects)
        if exact and summary["tokens"]:
            self._check_size(summary, loss_scale, suspects)
        self.receipts += len(entries)
        self.response_tokens += sum(entry.tokens for entry in entries)
        self.optimizer_steps += 1

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


def _total(entries: list[_Receipt]) -> float:
    gradients = [entry.gradient.double().sum() for entry in entries if entry.gradient is not None]
    return float(torch.stack([g.cpu() for g in gradients]).sum()) if gradients else 0.0


def _is_uneven(gradient: Tensor | None) -> bool:
    if gradient is None or gradient.numel() < 2:
        return False
    return bool((gradient.max() - gradient.min()) > _RELATIVE_TOLERANCE * gradient.abs().max())


def _is_turned(gradient: Tensor | None) -> bool:
    return gradient is not None and gradient.numel() > 0 and bool((gradient <= 0).any())


def _across_ranks(**values: float) -> dict[str, float]:
    """Sum over the ranks, but for ``total``, which is averaged as the gradients are."""
    result = dict(zip(values, summed(list(values.values())), strict=True))
    result["total"] /= world_size()
    return result


def _nothing_arrived(name: str, silent: bool, suspects: str) -> str:
    what = (
        f"the model was not called with labels in this step, so the {name} was never computed"
        if silent
        else f"the {name} was computed, but no gradient came back to it: the trainer back-propagated another loss"
    )
    return f"training would go on unprotected: {what}; {suspects}"
