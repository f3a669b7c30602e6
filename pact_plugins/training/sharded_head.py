"""A trainer's own mistake that would otherwise pass for ours: a sharded output embedding gathered without its sum."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import nn

from pact_plugins.distributed import is_distributed
from pact_plugins.messages import is_main_process

WARNING = (
    "the output embedding is trained and sharded by FSDP2, and the trainer's fused LM head gathers it in a way that "
    "gives each rank's shard the cross-entropy gradient of that rank's own batch alone. The PACT term is averaged "
    "correctly, the trainer's loss is not. Leave lm_head out of modules_to_save, or train with DDP or DeepSpeed"
)


def is_trained_shard(head: Any) -> bool:
    """Whether an output embedding is, at this moment, a shard that receives gradient.

    PEFT's ``modules_to_save`` is a sharding unit of its own, whole only inside its own forward pass; an output
    embedding trained in full belongs to the root and is whole throughout the model's.
    """
    weight: Any = getattr(head, "weight", None)
    return hasattr(weight, "full_tensor") and bool(weight.requires_grad)


class FusedHeadWatch:
    """Looks at the output embedding where a fused LM head would read it: when the decoder has just returned."""

    def __init__(self, causal_lm: Any) -> None:
        self._causal_lm = causal_lm
        self._sharded = False
        self._has_warned = False

    @torch.compiler.disable
    def after_decoder(self, _decoder: nn.Module, _args: Any, _output: Any) -> None:
        """A forward hook of the decoder; the reference's own passes, without gradient, are not the trainer's."""
        if torch.is_grad_enabled():
            self._sharded = is_distributed() and is_trained_shard(self._causal_lm.get_output_embeddings())

    def after_fused_forward(self) -> None:
        """Warn once where what was seen is what the trainer has multiplied with."""
        if self._sharded and not self._has_warned:
            self._has_warned = True
            if is_main_process():
                warnings.warn(WARNING, UserWarning, stacklevel=2)
