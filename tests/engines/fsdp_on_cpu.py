"""For tests only: accelerate prepares FSDP2 on the CPU too, where it would otherwise fall back to DDP in silence."""

from __future__ import annotations

import functools
from typing import Any

from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType


def allow_fsdp_on_cpu() -> None:
    """Keep the plugin that ``AcceleratorState`` is given; every line of accelerate's FSDP2 path stays its own."""
    original = AcceleratorState.__init__

    @functools.wraps(original)
    def initialise(self: Any, *args: Any, fsdp_plugin: Any = None, **kwargs: Any) -> None:
        original(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
        if fsdp_plugin is not None:
            self.distributed_type = DistributedType.FSDP
            self.fsdp_plugin = fsdp_plugin

    AcceleratorState.__init__ = initialise
