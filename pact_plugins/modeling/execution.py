"""Running a model on the side of a training run without leaving a trace in it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from torch import nn


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Dropout off, and gradient checkpointing with it; every sub-module's own mode comes back afterwards."""
    children = list(module.modules())
    repacking = {kind for kind in set(map(type, children)) if _repacks_in_evaluation(kind)}
    switched = [child for child in children if child.training != (type(child) in repacking)]
    for child in switched:
        child.training = type(child) in repacking
    try:
        yield
    finally:
        for child in switched:
            child.training = type(child) not in repacking


def _repacks_in_evaluation(module_type: type[nn.Module]) -> bool:
    """Whether a module would not come back from evaluation: a 4-bit layer of bitsandbytes.

    On a CPU with AVX512-BF16 its weights are repacked, for good, by the first forward pass without gradient in
    evaluation mode. The kernel for them has no backward pass: whatever lies below the layer would no longer be trained.
    """
    return any(kind.__name__ == "Linear4bit" for kind in module_type.__mro__)


@contextmanager
def preserved_random_state() -> Iterator[None]:
    """Python's, NumPy's and torch's random-number states come back afterwards."""
    python_state, numpy_state = random.getstate(), numpy.random.get_state()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python_state)
        numpy.random.set_state(numpy_state)


@contextmanager
def preserved_sharding(module: nn.Module) -> Iterator[None]:
    """Parameters of FSDP2 that are shards now are shards again afterwards.

    Units that stay whole from their forward to their backward pass would, without a backward pass, still be whole when
    training starts, and a trainer that reads such a parameter itself would not see what it sees without us.
    """
    units = _fsdp_units(module)
    try:
        yield
    finally:
        for unit in units:
            unit.reshard()


@contextmanager
def callable_by_itself(module: nn.Module, part: nn.Module) -> Iterator[None]:
    """``part`` of ``module`` may be called between two forward passes, where FSDP2 has sharded the parameters.

    The units around it gather theirs in a forward pass of their own, and there is none now. Afterwards everything is
    sharded, see ``preserved_sharding``.
    """
    with preserved_sharding(module):
        for unit in _fsdp_units(module):
            if unit is not part and any(inner is part for inner in unit.modules()):
                unit.unshard()
        yield


def checkpointed_modules(module: nn.Module) -> list[nn.Module]:
    """Those that compute their activations again in the backward pass, as the trainer has set them."""
    return [child for child in module.modules() if getattr(child, "gradient_checkpointing", False) is True]


@contextmanager
def checkpointing_if_large(checkpointed: Sequence[nn.Module], tokens: int, *, beside: int) -> Iterator[None]:
    """A forward pass over ``tokens`` beside a checkpointed one over many more keeps its activations.

    Then nothing is computed twice. Its activations in all layers are no more than those of one layer of the large pass,
    which that one holds anyway while it computes a layer again.
    """
    switched = checkpointed if tokens * len(checkpointed) <= beside else []
    for child in switched:
        child.gradient_checkpointing = False  # type: ignore[assignment]
    try:
        yield
    finally:
        for child in switched:
            child.gradient_checkpointing = True  # type: ignore[assignment]


def _fsdp_units(module: nn.Module) -> list[Any]:
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return []
    from torch.distributed.fsdp import FSDPModule

    return [child for child in module.modules() if isinstance(child, FSDPModule)]


@dataclass(frozen=True)
class AutocastState:
    """Mixed precision as it was at one place, to be entered again at another."""

    device_type: str
    enabled: bool
    dtype: torch.dtype

    @classmethod
    def current(cls, device_type: str) -> AutocastState:
        """What ``torch.autocast`` is set to here."""
        return cls(device_type, torch.is_autocast_enabled(device_type), torch.get_autocast_dtype(device_type))

    def __call__(self) -> torch.autocast:
        """A context manager that enters it."""
        return torch.autocast(self.device_type, dtype=self.dtype, enabled=self.enabled)
