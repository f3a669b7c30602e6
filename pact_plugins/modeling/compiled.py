"""What changes where the trainer compiles its model (``torch_compile``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from accelerate.utils import DynamoBackend
from torch import nn

from pact_plugins.distributed import accelerator_state, is_distributed


def compiled_as_trained(module: nn.Module) -> Callable[..., Any] | None:
    """``module`` under ``torch.compile`` with the run's backend and mode; None where the run does not compile.

    A call of a module inside a compiled model, from outside of it, runs as if nothing were compiled. None on several
    processes too, where compilers cut the model into pieces of their own.
    """
    settings = None if is_distributed() else _compile_settings()
    if settings is None:
        return None
    compiled: Callable[..., Any] = torch.compile(module, **settings)
    return compiled


def is_compiled_run() -> bool:
    """Whether the run compiles its model."""
    return _compile_settings() is not None


def forget_compiled() -> None:
    """Hooks came or went: what was compiled before does not know it, and torch does not check.

    A model of the same class that was trained in this process without us would lend ours its code, hooks missing.
    """
    if is_compiled_run():
        torch.compiler.reset()


def _compile_settings() -> dict[str, Any] | None:
    """The keywords for ``torch.compile`` that accelerate compiles the run's model with."""
    plugin = getattr(accelerator_state(), "dynamo_plugin", None)
    if plugin is None or plugin.backend == DynamoBackend.NO:
        return None
    settings: dict[str, Any] = plugin.to_kwargs()
    return settings
