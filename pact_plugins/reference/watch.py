"""Proof of the reference while training: what it says of one fixed row must stay what it said at the start."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pact_plugins.batch.responses import find_responses
from pact_plugins.contracts import Reference, ReferenceContext, ReferenceRequest
from pact_plugins.distributed import summed
from pact_plugins.errors import UnprotectedTrainingError
from pact_plugins.modeling import AutocastState, callable_by_itself, evaluation_mode, preserved_random_state
from pact_plugins.reference.online import DecoderReference

# Of the change that rounding every module's output anew would make. Other kernels, batches and lengths make a tenth of
# it; weights that have moved by half a percent make more than it.
_OF_ROUNDING = 0.25
# Of the largest logit: as far as float32 kernels of a GPU differ.
_FLOOR, _UNKNOWN = 3e-5, 5e-2
_ATTEMPTS = 2


class ReferenceWatch:
    """Remembers the reference's logits on a fixed row, and looks at them again.

    Args:
        context: of the reference, with the model in training and the tokens whose logits are compared.
        reference: whose answer is checked; one that says nothing of unseen rows (``None``) is not.
        input_ids: (1, L) the row; its second half is taken for a response.
    """

    def __init__(self, context: ReferenceContext, reference: Reference, input_ids: Tensor) -> None:
        precision = context.precision
        labels = input_ids.clone()
        labels[:, : input_ids.size(1) // 2] = -100
        autocast = AutocastState(input_ids.device.type, precision is not None, precision or torch.bfloat16)
        inputs: dict[str, Any] = {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids)}
        self._request = ReferenceRequest(inputs, find_responses(labels), context.token_ids, None, autocast, None)
        self._model_parts, self._reference, self._precision = context.model_parts, reference, precision
        self._expected = self._answer()
        self._tolerance = self._rounding()

    def check(self, step: int) -> None:
        """Compare with the start. Every rank must call it.

        Raises:
            UnprotectedTrainingError: the reference has changed.
        """
        if self._expected is None:
            return
        difference = _distance(self._answer(), self._expected)
        # NaN is a change, too.
        if summed([float(not difference <= self._tolerance)])[0]:
            raise UnprotectedTrainingError(
                f"the reference is no longer the aligned model at step {step}: its logits on a fixed row have moved by "
                f"{difference:.3g}, where rounding accounts for {self._tolerance:.3g}. Base weights were changed, or "
                "an adapter was merged, exchanged or left on; nothing may change them while the run is held to them. "
                "Set reference.path to the aligned model, or reference.kind: frozen_copy"
            )

    def _rounding(self) -> float:
        """How far rounding alone may move the answer on this row, with these weights in this precision."""
        if self._expected is None:
            return 0.0
        largest, online = 1 + float(self._expected.abs().max()), self._reference.online()
        if not isinstance(online, DecoderReference):
            return _UNKNOWN * largest
        moved = []
        for attempt in range(_ATTEMPTS):
            with rounded_otherwise(online.decoder, self._precision, attempt):
                moved.append(_distance(self._answer(), self._expected))
        return max(_OF_ROUNDING * max(moved), _FLOOR * largest)

    def _answer(self) -> Tensor | None:
        inside = callable_by_itself(self._model_parts.model, self._model_parts.decoder)
        # Quantised layers compute otherwise in training, the output embedding's too.
        with torch.no_grad(), preserved_random_state(), inside, evaluation_mode(self._model_parts.model):
            online = self._reference.online()
            return None if online is None else online.logits(self._request).full.float().cpu()


def _distance(found: Tensor | None, expected: Tensor) -> float:
    """The root of the mean squared difference of logits."""
    return float("inf") if found is None else float((found - expected).square().mean().sqrt())


@contextmanager
def rounded_otherwise(decoder: nn.Module, precision: torch.dtype | None, seed: int) -> Iterator[None]:
    """Every innermost module's output is moved by half a unit in its last place, up or down at random.

    Args:
        precision: of the autocast around the pass, if it is coarser than the outputs' own.
    """
    generator = torch.Generator().manual_seed(seed)

    def move(_module: nn.Module, _args: Any, output: Any) -> Any:
        if not isinstance(output, Tensor) or not output.is_floating_point():
            return None
        eps = max(torch.finfo(dtype).eps for dtype in (output.dtype, precision or output.dtype))
        up = torch.randint(0, 2, (output.shape[-1],), generator=generator) * 2 - 1
        return output * (1 + 0.5 * eps * up.to(output))

    handles = [part.register_forward_hook(move) for part in decoder.modules() if not any(part.children())]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
