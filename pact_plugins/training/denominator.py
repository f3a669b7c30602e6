"""How the trainer divides its loss: the one object that knows, and is asked for every micro-batch.

A trainer that accumulates hands the number of all labels, ``num_items_in_batch``, to the model and leaves the division
to its head. Some heads drop it and return the mean over their own micro-batch, some return a sum. What is added has to
follow, or it would be as many times too weak as there are micro-batches, or tokens.
"""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
from torch import Tensor

from pact_plugins.batch.micro_batch import Counts, MicroBatch
from pact_plugins.batch.responses import IGNORE_INDEX
from pact_plugins.distributed import is_distributed
from pact_plugins.errors import AttachmentError
from pact_plugins.messages import announce
from pact_plugins.modeling import LiveHead

_TELLING, _NEAR, _SAME = math.log(1.2), math.log(1.5), 0.01
_CHUNK = 256
# Micro-batches to look at: reading the trainer's number waits for the device.
_CHECKED_BATCHES = 16


class Division(Enum):
    """What the sum of a micro-batch's cross-entropies is divided by."""

    ALL = "the labels of all micro-batches"
    OWN = "its own labels"
    NOTHING = "nothing"


@dataclass(frozen=True)
class Share:
    """How much of an optimizer step's loss one micro-batch is.

    Attributes:
        division: of its sum over tokens.
        averaged: whether the trainer then divides each micro-batch by their number.
        factor: on the sum over tokens, where it joins what the trainer reads: a number or a tensor without dimensions.
        own: labels of the micro-batch that something predicts, at least 1.
    """

    division: Division
    averaged: bool
    factor: Any
    own: int

    @property
    def step_factor(self) -> Any:
        """On what has the weight of ``whole``, where it joins what the trainer reads."""
        return self.factor * self.own if self.division is Division.OWN else self.factor

    def amount(self, tokens: int) -> float:
        """What so many tokens of the micro-batch come to, in tokens or in micro-batches."""
        return tokens / self.own if self.division is Division.OWN else float(tokens)

    def whole(self, counts: Counts) -> float:
        """What all of some micro-batches come to, in the unit of ``amount``."""
        return float(counts.micro_batches if self.division is Division.OWN else counts.predicted)

    @property
    def window_divisor(self) -> str | None:
        """The number of an accumulation window that amounts are still divided by: a field of ``Counts``, or None."""
        return "predicted" if self.division is Division.ALL else "passes" if self.averaged else None


class Denominator:
    """How a trainer divides what a model returns.

    The model's loss is compared with its cross-entropy until the answer is clear, once in a run.
    """

    def __init__(self, causal_lm: Any) -> None:
        self._causal_lm, self._head = causal_lm, LiveHead(causal_lm)
        self._found: Division | None = None
        self._shift_is_known, self._is_a_mean = False, False
        self._checked = 0

    def of_log_probs(self, batch: MicroBatch) -> Share:
        """Where the trainer sums per-token log-probabilities and divides itself (TRL)."""
        told = _takes_loss_arguments(self._causal_lm)
        return Share(Division.ALL if told else Division.OWN, not told, 1.0, max(batch.own.predicted, 1))

    def of_loss(self, output: Any, batch: MicroBatch, num_items_in_batch: Any) -> Share:
        """Where the model has divided its loss.

        Args:
            output: the model's, its ``loss`` still its own.
            num_items_in_batch: as the trainer gave it to the model; None without accumulation of its own.

        Raises:
            AttachmentError: the head does not shift labels, or its loss cannot be read.
        """
        own, told = max(batch.own.predicted, 1), num_items_in_batch is not None
        if getattr(output, "loss", None) is not None and batch.own.predicted and self._checked < _CHECKED_BATCHES:
            self._check(output, batch, num_items_in_batch)
        division = self._found or (Division.ALL if told else Division.OWN)
        if division is Division.ALL and not told:
            division = Division.OWN
        factor = {Division.ALL: lambda: 1 / num_items_in_batch, Division.OWN: lambda: 1 / own}.get(
            division, lambda: 1.0
        )
        return Share(division, not told, factor(), own)

    def of_trainer(self, trainer: Any, batch: MicroBatch, num_items_in_batch: Any) -> Share:
        """Where a term joins the result of ``trainer.compute_loss``, as ``transformers.Trainer`` treats it."""
        own, by_function = max(batch.own.predicted, 1), trainer.compute_loss_func is not None
        is_scaled = getattr(trainer, "loss_is_scaled_for_ga", None)
        if is_scaled is None:
            told = getattr(trainer, "model_accepts_loss_kwargs", False) and num_items_in_batch is not None
            is_scaled = told or by_function
        if is_scaled and num_items_in_batch is not None:
            ranks = trainer.accelerator.num_processes if trainer.args.average_tokens_across_devices else 1
            return Share(Division.ALL, False, ranks / num_items_in_batch, own)
        # What counts as scaled is not divided by the number of micro-batches any more.
        steps = getattr(trainer, "current_gradient_accumulation_steps", 1) if is_scaled else 1
        return Share(Division.OWN, True, 1.0 / (own * steps), own)

    def _check(self, output: Any, batch: MicroBatch, num_items_in_batch: Any) -> None:
        if self._found is not None:
            return
        self._checked += 1
        counts = {Division.OWN: float(batch.own.predicted)}
        if num_items_in_batch is not None:
            counts[Division.ALL] = float(num_items_in_batch)
        if batch.own.predicted > 1 and not self._is_a_mean:
            counts[Division.NOTHING] = 1.0
        if self._shift_is_known and not _differ(counts, next(iter(counts))):
            return
        found = self._compare(output, batch, counts)
        self._shift_is_known = True
        if found is None:
            return
        self._is_a_mean = self._is_a_mean or (Division.NOTHING in counts and found is not Division.NOTHING)
        if not _differ(counts, found):
            return
        self._found = found
        if found is Division.NOTHING:
            announce("the model's loss is a sum over its labels and no mean; what is added follows")
        elif found is Division.OWN and num_items_in_batch is not None:
            announce(
                "the model's head drops num_items_in_batch, so that the trainer adds up the means of its "
                "micro-batches; what is added follows"
            )

    def _compare(self, output: Any, batch: MicroBatch, counts: dict[Division, float]) -> Division | None:
        """Which of ``counts`` the model's loss was divided by; None where nothing tells."""
        loss, total = float(output.loss.detach()), self._cross_entropy(output, batch)
        if total is None or not (math.isfinite(loss) and total > 0):
            return None
        auxiliary = self._auxiliary(output)
        for value in (loss, loss - auxiliary) if auxiliary else (loss,):
            nearest, distance = _nearest(counts, total / value if value > 0 else math.inf)
            if distance <= _SAME:
                return nearest
            _refuse_unshifted(output, batch, value)
        divisor = self._divisor_by_gradient(output, batch)
        nearest, distance = _nearest(counts, total / loss if divisor is None and loss > 0 else divisor or math.inf)
        if distance <= _NEAR:
            return nearest
        told = Division.ALL if Division.ALL in counts else Division.OWN
        announce(
            f"the model's loss on this micro-batch ({loss:.4g}) is its cross-entropy neither over all labels of "
            f"the step nor over its own ({total / counts[Division.OWN]:.4g}), nor their sum ({total:.4g}); what is "
            f"added is divided by {told.value}"
        )
        return told

    def _auxiliary(self, output: Any) -> float:
        """What a mixture of experts adds to its loss for an even load; 0 without it."""
        found = getattr(output, "aux_loss", None)
        config = self._causal_lm.config.get_text_config()
        coefficient = getattr(self._causal_lm, "router_aux_loss_coef", getattr(config, "router_aux_loss_coef", None))
        return 0.0 if found is None or coefficient is None else float(coefficient) * float(found.detach())

    @torch.no_grad()
    def _cross_entropy(self, output: Any, batch: MicroBatch) -> float | None:
        """Summed over the labels; None where only a call of all ranks together could tell."""
        given = _whole_logits(output, batch)
        if given is None and (is_distributed() or self._head.is_sharded):
            return None
        scores = batch.hidden_states if given is None else given
        rows, columns, targets = _labels(batch)
        total = 0.0
        for start in range(0, len(targets), _CHUNK):
            part = slice(start, start + _CHUNK)
            chunk = scores[rows[part].to(scores.device), columns[part].to(scores.device)]
            logits = self._head.logits(chunk, None) if given is None else chunk.float()
            wanted = targets[part].to(logits.device)
            total += float(torch.nn.functional.cross_entropy(logits, wanted, reduction="sum"))
        return total

    def _divisor_by_gradient(self, output: Any, batch: MicroBatch) -> float | None:
        """What the model's loss divides the cross-entropy of a label by, whatever else is in it.

        Read off the gradient at the states behind the head: what a mixture of experts, or a head of the user's own,
        adds from anywhere else does not reach them. None where the graph cannot be gone through twice.

        Raises:
            AttachmentError: going through the graph has changed it.
        """
        states = batch.hidden_states
        if is_distributed() or self._head.is_sharded or not (states.requires_grad and output.loss.requires_grad):
            return None
        try:
            found = [
                torch.autograd.grad(output.loss, states, retain_graph=True, allow_unused=True)[0] for _ in range(2)
            ]
        except RuntimeError:  # compiled graphs give their memory away
            return None
        if found[0] is None or found[1] is None:
            return None
        if not torch.allclose(found[0], found[1], rtol=0.05, atol=float(found[0].abs().max()) * 1e-2):
            raise AttachmentError(
                "the model's loss holds more than its cross-entropy and is computed by a kernel whose backward pass "
                "cannot be looked at (Liger), so that nobody knows what it is divided by; switch that kernel off"
            )
        rows, columns, targets = (one[:_CHUNK] for one in _labels(batch))
        leaf = states[rows.to(states.device), columns.to(states.device)].detach().requires_grad_()
        logits = self._head.logits(leaf, None)
        cross_entropy = torch.nn.functional.cross_entropy(logits, targets.to(logits.device), reduction="sum")
        (own,) = torch.autograd.grad(cross_entropy, leaf)
        arrived = found[0][rows.to(states.device), columns.to(states.device)].double()
        along = float((own.double() * arrived).sum())
        return float(own.double().square().sum()) / along if along > 0 else None


def _takes_loss_arguments(causal_lm: Any) -> bool:
    """Whether ``transformers.Trainer`` counts the labels of all micro-batches for this model."""
    said = getattr(causal_lm, "accepts_loss_kwargs", None)
    if said is not None:
        return bool(said)
    parameters = inspect.signature(type(causal_lm).forward).parameters.values()
    return any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters)


def _differ(counts: dict[Division, float], found: Division) -> bool:
    """Whether there are others, and none of them is too near to be told apart."""
    others = [count for division, count in counts.items() if division is not found]
    return bool(others) and all(abs(math.log(counts[found] / other)) > _TELLING for other in others)


def _nearest(counts: dict[Division, float], divisor: float) -> tuple[Division, float]:
    """The nearest of ``counts``, and its distance as a logarithm."""
    distances = {division: abs(math.log(divisor / count)) for division, count in counts.items()}
    nearest = min(distances, key=lambda division: distances[division])
    return nearest, distances[nearest]


def _labels(batch: MicroBatch) -> tuple[Tensor, Tensor, Tensor]:
    """Row, column of the state that predicts it, and id of each label."""
    rows, columns = (batch.labels[:, 1:] != IGNORE_INDEX).nonzero(as_tuple=True)
    return rows, columns, batch.labels[rows, columns + 1]


def _whole_logits(output: Any, batch: MicroBatch) -> Tensor | None:
    logits = getattr(output, "logits", None)
    return logits if logits is not None and logits.shape[:2] == batch.labels.shape else None


def _refuse_unshifted(output: Any, batch: MicroBatch, loss: float) -> None:
    logits = _whole_logits(output, batch)
    if logits is None or loss <= 0:
        return
    labels = batch.labels.to(logits.device)
    rows, columns = (labels != IGNORE_INDEX).nonzero(as_tuple=True)
    unshifted = torch.nn.functional.cross_entropy(logits[rows, columns].detach().float(), labels[rows, columns])
    if abs(math.log(loss / float(unshifted))) < _SAME:
        raise AttachmentError(
            "the model's loss takes labels that are shifted already (labels[i] is what logits[i] predicts, as in the "
            "decoders of BART and its kin): PACT reads labels as causal language models do, and would hold the wrong "
            "tokens"
        )
