"""Joining the parts of the loss to what the trainer back-propagates."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.state import GradientState
from torch import Tensor, nn

from pact_plugins.batch.host import begin_copy
from pact_plugins.batch.joined import Seats
from pact_plugins.batch.micro_batch import NOTHING, ComingBatch, MicroBatch, StepIndex
from pact_plugins.conversation import AssistantTurns
from pact_plugins.distributed import is_distributed, rank, world_size
from pact_plugins.errors import AttachmentError, UnprotectedTrainingError
from pact_plugins.modeling import ModelParts, base_has_moved, model_parts_of, switched_off, was_moved
from pact_plugins.training.denominator import Denominator, Share
from pact_plugins.training.forward_pass import ForwardPass
from pact_plugins.training.joining import Joining
from pact_plugins.training.loss_terms import Addition, LossTerms
from pact_plugins.training.metrics import MetricMeans
from pact_plugins.training.receipts import Receipts
from pact_plugins.training.sharded_head import FusedHeadWatch

# An exception in a training loop leaves the hooks on, and nobody is told: the next attachment clears them.
_LATEST: weakref.WeakKeyDictionary[nn.Module, weakref.ref[Attachment]] = weakref.WeakKeyDictionary()
# Causal language models that a training under PACT of this process has moved.
_MOVED: weakref.WeakSet[nn.Module] = weakref.WeakSet()


def was_trained_in_full(model: nn.Module) -> bool:
    """Whether an earlier trainer of this process has moved ``model``, which has no adapter to switch off.

    Raises:
        AttachmentError: it cannot be taken apart.
    """
    model_parts = model_parts_of(model)
    # Also where there is an adapter: what it starts from is remembered.
    has_moved = base_has_moved(model_parts.causal_lm) or model_parts.causal_lm in _MOVED
    return model_parts.peft_model is None and has_moved


def was_moved_by_others(model: nn.Module) -> bool:
    """Whether an optimizer of this process that PACT knows nothing of has moved weights that are no adapter's.

    Raises:
        AttachmentError: it cannot be taken apart.
    """
    of_adapters = {id(parameter) for parameter in switched_off(model)}
    moved = any(was_moved(parameter) and id(parameter) not in of_adapters for parameter in model.parameters())
    return moved and model_parts_of(model).causal_lm not in _MOVED


class Attachment:
    """Hooks on a model in training, from ``attach`` to ``detach``.

    What is added joins the outputs that the trainer reads (``log_probs`` per token where there are any, else
    ``loss``), or, for trainers that compute a loss of their own from the logits, the result of
    ``trainer.compute_loss``.

    Args:
        turns: what the chat template writes around an assistant's turn, by which responses are told from prompts where
            both are trained on.
    """

    def __init__(
        self,
        model_parts: ModelParts,
        forward_pass: ForwardPass,
        loss_terms: LossTerms,
        turns: AssistantTurns | None = None,
    ) -> None:
        self._model_parts, self._forward_pass, self._loss_terms = model_parts, forward_pass, loss_terms
        self._turns = turns
        self._undo: list[Any] = []
        self._fused_head = FusedHeadWatch(model_parts.causal_lm)
        self._denominator = Denominator(model_parts.causal_lm)
        self._step, self._micro_batch, self._micro_batches = 0, 0, 1
        self._waiting, self._earlier = 0, NOTHING
        self._labels: Tensor | None = None
        self._joining = Joining(loss_terms.parts, model_parts)
        self.receipts = Receipts(loss_terms.parts)
        self.metrics = MetricMeans(loss_terms.counts())
        self.measure = True
        """Whether the next micro-batches compute the metrics that need a whole-vocabulary softmax."""

    def begin_step(self, step: int, *, micro_batches: int) -> None:
        """The next micro-batches belong to optimizer step ``step`` (from 0), accumulated over ``micro_batches``."""
        self._step, self._micro_batch, self._micro_batches = step, 0, micro_batches
        self._waiting, self._earlier = 0, NOTHING
        self.receipts.begin_window()

    def weights_move(self) -> None:
        """An optimizer is about to move the model: a later run must not take it for the aligned one."""
        _MOVED.add(self._model_parts.causal_lm)

    def attach_to_outputs(self) -> None:
        """Join the term to the outputs of the model's forward pass."""
        self._replace_left_over()
        self._forward_pass.attach()
        self._forward_pass.joining = self._seats
        model = self._model_parts.model
        handles = [
            model.register_forward_pre_hook(self._before_forward, with_kwargs=True),
            model.register_forward_hook(self._after_forward, with_kwargs=True),
            self._model_parts.decoder.register_forward_hook(self._fused_head.after_decoder),
        ]
        self._undo += [handle.remove for handle in handles]

    def attach_to_compute_loss(self, trainer: Any) -> None:
        """Join the term to what ``trainer.compute_loss`` returns, scaled as the trainer scales its own loss."""
        self._replace_left_over()
        self._forward_pass.attach()
        self._forward_pass.joining = self._seats
        original = trainer.compute_loss

        @functools.wraps(original)
        def compute_loss(
            model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None, **kwargs: Any
        ) -> Any:
            labels = inputs.get("labels")  # the trainer may take them out
            self._expect(labels)
            result = original(
                model, inputs, return_outputs=return_outputs, num_items_in_batch=num_items_in_batch, **kwargs
            )
            if not self._is_training() or labels is None:
                self._forward_pass.discard()
                return result
            with self._detached_on_error():
                batch = self._next_micro_batch(labels)
                share = self._denominator.of_trainer(trainer, batch, num_items_in_batch)
                addition = self._compute(batch, share, result[0] if return_outputs else result)
            if addition is None:
                return result
            extra = addition.joined(share)
            return (result[0] + extra, *result[1:]) if return_outputs else result + extra

        trainer.compute_loss = compute_loss
        self._undo.append(lambda: setattr(trainer, "compute_loss", original))

    def detach(self) -> None:
        """Take every hook off."""
        self._forward_pass.detach()
        while self._undo:
            self._undo.pop()()

    def _replace_left_over(self) -> None:
        latest = _LATEST.get(self._model_parts.causal_lm)
        left_over = None if latest is None else latest()
        if left_over is not None:
            left_over.detach()
        _LATEST[self._model_parts.causal_lm] = weakref.ref(self)

    def _is_training(self) -> bool:
        return self._model_parts.model.training and torch.is_grad_enabled()

    @torch.compiler.disable
    def _before_forward(self, _module: nn.Module, _args: Any, kwargs: dict[str, Any]) -> None:
        self._expect(kwargs.get("labels"))

    def _expect(self, labels: Tensor | None) -> None:
        """A forward pass over these labels is about to begin."""
        begin_copy(labels)
        self._labels = labels if self._is_training() else None

    def _seats(self, inputs: dict[str, Any]) -> Seats | None:
        """Of what joins the trainer's rows between the model and its decoder."""
        labels, self._labels = self._labels, None
        if labels is None:
            return None
        with self._detached_on_error():
            return self._joining.seats(ComingBatch(labels, inputs, self._place(), self._earlier, self._turns))

    @torch.compiler.disable
    def _after_forward(self, _module: nn.Module, _args: Any, kwargs: dict[str, Any], output: Any) -> Any:
        if not self._is_training():
            return None
        if kwargs.get("shift_labels") is not None:
            raise AttachmentError(
                "context and sequence parallelism split a sequence over ranks, which PACT cannot follow"
            )
        labels = kwargs.get("labels")
        if labels is None:
            # Not the trainer's loss, as far as we can see. If it was, the receipts will miss it.
            self._forward_pass.discard()
            return None
        with self._detached_on_error():
            log_probs = getattr(output, "log_probs", None)
            batch = self._next_micro_batch(labels, log_probs)
            if log_probs is None:
                share = self._denominator.of_loss(output, batch, kwargs.get("num_items_in_batch"))
                addition = self._compute(batch, share, getattr(output, "loss", None))
                if addition is not None:
                    loss = _own_loss(output)
                    output.loss = loss + addition.joined(share).to(loss.device)
            else:
                share = self._denominator.of_log_probs(batch)
                addition = self._compute(batch, share, log_probs)
                if addition is not None:
                    self._fused_head.after_fused_forward()
                    _join_log_probs(output, addition, share)
        return output

    @contextmanager
    def _detached_on_error(self) -> Iterator[None]:
        try:
            yield
        except Exception:
            self.detach()
            raise

    def _next_micro_batch(self, labels: Tensor, log_probs: Tensor | None = None) -> MicroBatch:
        taken, step_index = self._forward_pass.take(), self._place()
        self._joining.refuse_mixed_rows(taken.inputs)
        self._micro_batch += 1
        self._waiting = 0 if step_index.covers else self._waiting + 1
        return MicroBatch(
            labels,
            taken.inputs,
            taken.hidden_states,
            taken.autocast,
            step_index,
            log_probs,
            self.measure,
            self._earlier,
            self._turns,
            joined=self._joining.of_parts(taken.joined),
        )

    def _place(self) -> StepIndex:
        """Of the micro-batch that comes next."""
        # The trainer says so to accelerate before each micro-batch; where nobody does, each is the last.
        covers = self._waiting + 1 if GradientState().sync_gradients else 0
        place = {"micro_batches": self._micro_batches, "ranks": world_size(), "covers": covers}
        return StepIndex(self._step, self._micro_batch, rank(), **place)

    def _compute(self, batch: MicroBatch, share: Share, loss: Tensor | None) -> Addition | None:
        """What joins ``loss``, or per-token values that sum up to it."""
        so_far = batch.so_far
        self._earlier = NOTHING if batch.step_index.covers else so_far
        self.receipts.enter(batch, share, loss)
        # What stands for the whole step comes with its last micro-batch, whether that one has a label or not. With
        # several ranks, one without response tokens must still take part in the collectives of the others.
        is_idle = not (so_far if batch.step_index.covers else batch.own).labels
        return None if is_idle and not is_distributed() else self._loss_terms(batch, share, self.metrics, self.receipts)


def _join_log_probs(output: Any, addition: Addition, share: Share) -> None:
    """The trainer sums -log_probs and divides: what is added gets the denominator of the token's cross-entropy."""
    log_probs = output.log_probs
    penalty = torch.zeros(log_probs.shape, dtype=torch.float32, device=log_probs.device)
    index = (addition.tokens.rows.to(penalty.device), addition.tokens.columns.to(penalty.device))
    penalty = penalty.index_put(index, addition.values.to(penalty.device))
    if addition.of_step is not None:
        # Where there may be no label: the trainer sums over all places.
        anywhere = torch.zeros(2, 1, dtype=torch.long, device=penalty.device).unbind()
        of_step = (addition.of_step * share.step_factor).to(penalty.device)
        penalty = penalty.index_put(anywhere, of_step.reshape(1), accumulate=True)
    output.log_probs = log_probs.float() - penalty


def _own_loss(output: Any) -> Tensor:
    loss = getattr(output, "loss", None)
    if loss is None:
        raise UnprotectedTrainingError(
            "the model returned neither a loss nor per-token log_probs, so there is nothing to add the term to; "
            "a custom loss computed outside the model is not protected"
        )
    return loss
