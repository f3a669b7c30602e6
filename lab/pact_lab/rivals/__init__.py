"""What others do beside the loss, as callbacks of the trainer: to be compared with, not recommended.

Only the papers' abstracts were at hand. What an abstract leaves open is our choice, and every class says so. Imports no
torch: every command line that lists methods reads it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pact_plugins.contracts import CallbackContext

__all__ = ["SafeGrad", "SafetyAnchor", "WeightAverage"]


@dataclass(frozen=True)
class WeightAverage:
    """Moving average of the weights (arXiv 2508.12531): ``a <- decay a + (1 - decay) w`` after every step.

    It starts at the aligned weights, and the run ends with ``a``. Ours: the decay, and that with LoRA the adapter's
    factors are averaged, not their product.
    """

    decay: float = 0.9

    def __call__(self, _context: CallbackContext) -> list[Any]:
        from pact_lab.rivals.weight_average import Averaging

        return [Averaging(self.decay)]


@dataclass(frozen=True)
class SafeGrad:
    """Gradient surgery (arXiv 2508.07172): what in the task's gradient opposes the gradient of a KL on refusals is
    projected out, and that gradient is added.

    The KL is the aligned model's distribution against the trained one's at the tokens of the aligned model's own
    refusals. Ours: ``examples`` refusals of 32 tokens at most, ``batch`` of them a step, the weight of their gradient.
    """

    examples: int = 64
    batch: int = 8
    weight: float = 1.0

    def __call__(self, context: CallbackContext) -> list[Any]:
        from pact_lab.rivals.second_gradient import Surgery, forced

        return [Surgery(forced(context, self.examples), self.batch, self.weight, context.seed)]


@dataclass(frozen=True)
class SafetyAnchor:
    """Safety bottleneck regularisation (arXiv 2605.05995): the last hidden state at the end of a few harmful prompts is
    held to the aligned model's by its squared distance.

    Ours: ``examples`` prompts in every step, and the weight.
    """

    examples: int = 8
    weight: float = 1.0

    def __call__(self, context: CallbackContext) -> list[Any]:
        from pact_lab.rivals.second_gradient import Anchoring, forced

        return [Anchoring(forced(context, self.examples), self.weight)]
