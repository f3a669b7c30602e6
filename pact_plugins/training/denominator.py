"""What the model's own cross-entropy is: its denominator and its place, read off its loss.

A trainer that accumulates hands the number of all labels, ``num_items_in_batch``, to the model and leaves the division
to its head. Some heads drop it and return the mean over their own micro-batch; the trainer then adds up means. What is
added has to follow, or it would be as many times too weak as there are micro-batches.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from pact_plugins.batch.micro_batch import MicroBatch
from pact_plugins.batch.responses import IGNORE_INDEX
from pact_plugins.distributed import is_distributed
from pact_plugins.errors import AttachmentError
from pact_plugins.messages import announce
from pact_plugins.modeling import LiveHead

_TELLING, _NEAR, _SAME = math.log(1.2), math.log(1.5), 0.01
_CHUNK = 256
# Micro-batches to look at: reading the trainer's number waits for the device.
_LOOKS = 16


class Denominator:
    """The model's loss compared with its cross-entropy, once in a run.

    Attributes:
        is_own: whether the head divides by the labels of its own micro-batch although the trainer told it the number
            of all; None as long as nobody knows.
    """

    def __init__(self, head: LiveHead) -> None:
        self._head = head
        self.is_own: bool | None = None
        self._shift_is_known = False
        self._looks = 0

    def of(self, output: Any, batch: MicroBatch, num_items_in_batch: Any) -> Any:
        """What the sum over a micro-batch's response tokens is divided by: a number or a tensor without dimensions.

        Args:
            output: the model's, its ``loss`` still its own.
            num_items_in_batch: as the trainer gave it to the model; None without accumulation of its own.

        Raises:
            AttachmentError: the head does not shift labels.
        """
        own = max(len(batch.responses), 1)
        told = num_items_in_batch is not None
        open_question = told and self.is_own is None and self._looks < _LOOKS
        self._looks += open_question
        telling = open_question and abs(math.log(float(num_items_in_batch) / own)) > _TELLING
        if len(batch.responses) and (telling or not self._shift_is_known):
            self._compare(output, batch, float(num_items_in_batch) if telling else None)
        return num_items_in_batch if told and not self.is_own else own

    @torch.no_grad()
    def _compare(self, output: Any, batch: MicroBatch, whole: float | None) -> None:
        self._shift_is_known = True
        own, loss, total = len(batch.responses), float(output.loss), self._cross_entropy(output, batch)
        if total is None or not (loss > 0 and total > 0):
            return
        distances = [abs(math.log(loss * count / total)) for count in (own, whole) if count]
        if min(distances) > _SAME:
            _refuse_unshifted(output, batch, loss)
        if whole is None:
            return
        self.is_own = distances[0] < distances[1]
        if min(distances) > _NEAR:
            self.is_own = False
            announce(
                f"the model's loss on this micro-batch ({loss:.4g}) is its cross-entropy neither over all labels of "
                f"the step ({total / whole:.4g}) nor over its own ({total / own:.4g}); the term goes by all labels"
            )
        elif self.is_own:
            announce(
                "the model's head drops num_items_in_batch, so that the trainer adds up the means of its "
                "micro-batches; the term follows"
            )

    def _cross_entropy(self, output: Any, batch: MicroBatch) -> float | None:
        """Summed over the response tokens; None where only a call of all ranks together could tell."""
        given = _whole_logits(output, batch)
        if given is None and (is_distributed() or self._head.is_sharded):
            return None
        scores = batch.states if given is None else batch.responses.select(given)
        total = 0.0
        for chunk, targets in zip(scores.split(_CHUNK), batch.responses.token_ids.split(_CHUNK), strict=True):
            logits = self._head.logits(chunk, None) if given is None else chunk.float()
            total += float(torch.nn.functional.cross_entropy(logits, targets.to(logits.device), reduction="sum"))
        return total


def _whole_logits(output: Any, batch: MicroBatch) -> Tensor | None:
    logits = getattr(output, "logits", None)
    return logits if logits is not None and logits.shape[:2] == batch.labels.shape else None


def _refuse_unshifted(output: Any, batch: MicroBatch, loss: float) -> None:
    logits = _whole_logits(output, batch)
    if logits is None:
        return
    labels = batch.labels.to(logits.device)
    rows, columns = (labels != IGNORE_INDEX).nonzero(as_tuple=True)
    unshifted = float(torch.nn.functional.cross_entropy(logits[rows, columns].float(), labels[rows, columns]))
    if abs(math.log(loss / unshifted)) < _SAME:
        raise AttachmentError(
            "the model's loss takes labels that are shifted already (labels[i] is what logits[i] predicts, as in the "
            "decoders of BART and its kin): PACT reads labels as causal language models do, and would hold the wrong "
            "tokens"
        )
