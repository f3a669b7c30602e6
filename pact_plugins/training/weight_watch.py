"""Whether weights move only in optimizer steps whose gradient was checked, and by that gradient."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pact_plugins.messages import warn

# An exception in a training loop leaves the hooks on, and nobody is told: the next watch takes them off.
_LATEST: weakref.WeakKeyDictionary[nn.Module, weakref.ref[WeightWatch]] = weakref.WeakKeyDictionary()


class WeightWatch:
    """Norms of all that trains, and of its gradients, compared at the moments between which nothing may change them.

    A step costs four readings of this rank's trained weights, as four clippings of the gradient would.

    Args:
        model: that is trained.
    """

    def __init__(self, model: nn.Module) -> None:
        left_over = _LATEST.get(model, lambda: None)()
        if left_over is not None:
            left_over.close()
        _LATEST[model] = weakref.ref(self)
        self._trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._handles = [model.register_forward_pre_hook(self._before_forward)]
        self._optimizer: Any = None
        self._steps_in_backward = self._is_scaled = False
        self._weights: Tensor | None = None
        self._gradients: Tensor | None = None
        self._is_stepping = False
        self.unchecked_moves = 0
        """How often something moved that no receipt speaks of."""

    def begin_step(self, optimizer: Any) -> None:
        """An optimizer step begins with its first micro-batch."""
        # DeepSpeed steps inside backward(), before anybody is told of the step.
        self._steps_in_backward = "deepspeed" in type(optimizer).__module__.lower() + type(optimizer).__name__.lower()
        self._is_scaled = getattr(optimizer, "scaler", None) is not None
        if self._steps_in_backward:
            self._compare_weights()
        elif optimizer is not None:
            self._follow(_innermost(optimizer))

    def checked(self) -> None:
        """The gradient has been checked, and the optimizer is about to take it."""
        if self._steps_in_backward:
            return
        self._compare_weights()
        self._gradients = _norms([p.grad for p in self._trained if p.grad is not None])
        self._is_stepping = True

    def stepped(self) -> None:
        """The optimizer has moved the weights."""
        self._weights, self._gradients, self._is_stepping = _norms(self._trained), None, False

    @property
    def has_stepped(self) -> bool:
        """Whether a checked step has moved the weights."""
        return self._weights is not None

    @property
    def is_unmoved(self) -> bool:
        """Whether the weights are those that the last checked step left; True before the first."""
        return self._weights is None or _same(self._weights, _norms(self._trained))

    def close(self) -> None:
        """Take the hooks off."""
        while self._handles:
            self._handles.pop().remove()

    def _follow(self, optimizer: Any) -> None:
        if optimizer is self._optimizer or not hasattr(optimizer, "register_step_pre_hook"):
            return
        self._optimizer = optimizer
        moved = [one for group in optimizer.param_groups for one in group["params"] if one.requires_grad]
        # FSDP2 leaves a unit whole whose modules have not all run, such as a norm and an output embedding behind a pass
        # of the decoder alone; the model's own parameters are then those that the first backward pass frees.
        if any(hasattr(one, "_local_tensor") for one in moved):
            self._trained = moved
        self._handles.append(optimizer.register_step_pre_hook(self._before_optimizer))

    def _before_optimizer(self, *_arguments: Any) -> None:
        if not self._is_stepping:
            self._say("an optimizer stepped that had no checked gradient")
        elif self._gradients is not None:
            now = _norms([p.grad for p in self._trained if p.grad is not None])
            is_unscaled = self._is_scaled and _is_multiple(self._gradients, now)
            if not is_unscaled and not _same(self._gradients, now):
                self._say("the gradient was changed after it had been checked")
            self._gradients = None

    def _before_forward(self, module: nn.Module, _arguments: Any) -> None:
        if self._is_stepping and module.training and torch.is_grad_enabled():
            self._say("the optimizer computes a loss of its own, which nothing was added to")

    def _compare_weights(self) -> None:
        if not self.is_unmoved:
            self._say("weights were changed between two optimizer steps")

    def _say(self, what: str) -> None:
        self.unchecked_moves += 1
        if self.unchecked_moves == 1:
            warn(f"{what}: no gradient receipt speaks of that, and `pact verify` will not call this run protected")


def _innermost(optimizer: Any) -> Any:
    """Without accelerate's wrappers."""
    while isinstance(getattr(optimizer, "optimizer", None), torch.optim.Optimizer):
        optimizer = optimizer.optimizer
    return optimizer


@torch.no_grad()
def _norms(tensors: Sequence[Any]) -> Tensor | None:
    """(number of tensors with values on this rank,) float32, or float64 where one of them is."""
    local = [getattr(tensor, "_local_tensor", tensor).detach() for tensor in tensors]
    local = [tensor for tensor in local if tensor.numel()]
    if not local:
        return None
    is_double = any(tensor.dtype == torch.float64 for tensor in local)
    norms = torch._foreach_norm(local, 2, dtype=torch.float64 if is_double else torch.float32)
    return torch.stack([norm.to(norms[0].device) for norm in norms])


def _same(one: Tensor | None, other: Tensor | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.shape == other.shape and bool(torch.equal(one.nan_to_num(), other.nan_to_num()))


def _is_multiple(before: Tensor, after: Tensor | None) -> bool:
    """Whether a gradient scaler has divided all by one factor."""
    if after is None or before.shape != after.shape:
        return False
    positive = before > 0
    factors = after[positive] / before[positive]
    return bool(factors.numel()) and bool(((factors - factors.median()).abs() <= 1e-3 * factors.median()).all())
