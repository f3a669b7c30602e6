"""Counts the kernels that a run would launch on a device: operations that compute something, forward and backward."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import TrainerCallback


class LaunchCounter(TorchDispatchMode):
    """``count`` goes up by one with each operation that is no view of its input."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if not function.is_view and isinstance(result, (Tensor, tuple, list)):
            self.count += 1
        return result


class Steps(TrainerCallback):
    """The count at the beginning of each optimizer step and before the optimizer moves."""

    def __init__(self, counter: LaunchCounter) -> None:
        self._counter = counter
        self.begun: list[int] = []
        self.of_step: list[int] = []

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.begun.append(self._counter.count)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.of_step.append(self._counter.count - self.begun[-1])


@contextmanager
def counted_launches() -> Iterator[Steps]:
    """What is to be given to the trainer as a callback; ``of_step`` of it are the launches of each step."""
    with LaunchCounter() as counter:
        yield Steps(counter)
