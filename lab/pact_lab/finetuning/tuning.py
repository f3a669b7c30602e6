"""How a model is fine-tuned, as data; imports nothing heavy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

# The same in every training, whichever framework runs it.
LORA_RANK, LORA_ALPHA, WARMUP_STEPS = 8, 16, 5


@dataclass(frozen=True)
class Tuning:
    """How a model is fine-tuned; the defaults are the demo's."""

    adapter: Literal["lora", "full"] = "lora"
    learning_rate: float = 3e-3
    epochs: float = 2
    batch_size: int = 16
    max_length: int = 128

    def steps(self, rows: int) -> int:
        """Optimizer steps on that many rows."""
        return math.ceil(self.epochs * -(-rows // self.batch_size))
