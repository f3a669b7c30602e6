"""Which weights an optimizer of this process has moved, whichever trainer it belonged to."""

from __future__ import annotations

from typing import Any

from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook

_MARK = "_was_moved_by_an_optimizer"


def was_moved(parameter: Any) -> bool:
    """Whether an optimizer has stepped on ``parameter`` since this module was imported."""
    return hasattr(parameter, _MARK)


def _mark(optimizer: Optimizer, *_arguments: Any) -> None:
    for group in optimizer.param_groups:
        # A step marks a whole group.
        if group["params"] and not was_moved(group["params"][-1]):
            for parameter in group["params"]:
                setattr(parameter, _MARK, True)


register_optimizer_step_post_hook(_mark)
