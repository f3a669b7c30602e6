"""Gradient receipts: proof that the term reached the loss that was back-propagated."""

from __future__ import annotations

import math
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


class ReceiptLedger:
    """Every micro-batch's term is entered; every entry must be paid by a gradient before the optimizer moves.

    The gradient that arrives at each token's divergence is ``kl_coef / N`` times the trainer's own factors, where N is
    the denominator of its cross-entropy. Summed over an accumulated batch and averaged over the ranks, that is
    ``kl_coef`` times the loss scale, whichever of the usual denominators the trainer uses: one number that tells a
    wrong denominator, a missed micro-batch and a doubled term apart from a right one.
    """

    def __init__(self, coefficient: float) -> None:
        self._coefficient = coefficient
        self._open: list[_Receipt] = []
        self._idle_micro_batches = 0
        self.receipts = 0
        self.response_tokens = 0
        self.optimizer_steps = 0

    def enter(self, divergence: Tensor, *, labels: int) -> None:
        """Expect a gradient at ``divergence`` (N,).

        Args:
            labels: how many labels the batch has, those in column 0 included; some trainers count these too.
        """
        receipt = _Receipt(tokens=divergence.numel(), labels=labels)
        self._open.append(receipt)

        def keep(gradient: Tensor) -> None:
            receipt.gradient = gradient.detach()

        divergence.register_hook(keep)

    def enter_idle(self) -> None:
        """A micro-batch without a response token: nothing to protect, nothing to expect."""
        self._idle_micro_batches += 1

    def settle(self, *, loss_scale: float | None, exact: bool, suspects: str) -> None:
        """Check and close the entries of one optimizer step. Every rank must call it.

        Args:
            loss_scale: the factor that a gradient scaler puts on the loss; None where it is unknown.
            exact: check the size, or only that each gradient arrived.
            suspects: what may be at fault, for the message.

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
            total=_total(entries),
            tokens=sum(entry.tokens for entry in entries),
            labels=sum(entry.labels for entry in entries),
        )
        if summary["silent"] or summary["missing"]:
            raise UnprotectedTrainingError(_nothing_arrived(bool(summary["silent"]), suspects))
        if exact and summary["tokens"]:
            self._check_size(summary, loss_scale, suspects)
        self.receipts += len(entries)
        self.response_tokens += sum(entry.tokens for entry in entries)
        self.optimizer_steps += 1

    def _check_size(self, summary: dict[str, float], loss_scale: float | None, suspects: str) -> None:
        total = summary["total"]
        if loss_scale is None or not math.isfinite(total):
            # An overflow under a gradient scaler: the scaler skips this step.
            return
        if summary["uneven"]:
            raise UnprotectedTrainingError(
                "the trainer weights the term's tokens unevenly, so its loss is no plain mean over response tokens; "
                + suspects
            )
        expected = self._coefficient * loss_scale
        lowest = expected * summary["tokens"] / max(summary["labels"], 1)
        if not lowest * (1 - _RELATIVE_TOLERANCE) <= total <= expected * (1 + _RELATIVE_TOLERANCE):
            raise UnprotectedTrainingError(
                f"the term reached the loss with a total weight of {total:.6g} instead of {expected:.6g} "
                "(kl_coef times the loss scale): the trainer's denominator is not the one it told the model; "
                f"{suspects} Set receipts: present to train with this weight all the same."
            )


def _total(entries: list[_Receipt]) -> float:
    gradients = [entry.gradient.double().sum() for entry in entries if entry.gradient is not None]
    return float(torch.stack([g.cpu() for g in gradients]).sum()) if gradients else 0.0


def _is_uneven(gradient: Tensor | None) -> bool:
    if gradient is None or gradient.numel() < 2:
        return False
    return bool((gradient.max() - gradient.min()) > _RELATIVE_TOLERANCE * gradient.abs().max())


def _across_ranks(**values: float) -> dict[str, float]:
    """Sum over the ranks, but for ``total``, which is averaged as the gradients are."""
    result = dict(zip(values, summed(list(values.values())), strict=True))
    result["total"] /= world_size()
    return result


def _nothing_arrived(silent: bool, suspects: str) -> str:
    what = (
        "the model was not called with labels in this step, so the term was never computed"
        if silent
        else "the term was computed, but no gradient came back to it: the trainer back-propagated another loss"
    )
    return f"training would go on unprotected: {what}; {suspects}"
