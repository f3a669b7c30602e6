"""Proof of the reference while training: what it says of one fixed row must stay what it said at the start."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pact_plugins.batch.responses import find_responses
from pact_plugins.contracts import Reference, ReferenceContext, ReferenceRequest
from pact_plugins.distributed import summed
from pact_plugins.errors import UnprotectedTrainingError
from pact_plugins.modeling import AutocastState, callable_by_itself, preserved_random_state

_TOLERANCES = {torch.float32: 1e-4, torch.float64: 1e-8}
_HALF_PRECISION_TOLERANCE = 5e-2


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
        self._anatomy, self._reference, self._half = context.anatomy, reference, precision is not None
        self._expected = self._answer()

    def check(self, step: int) -> None:
        """Compare with the start. Every rank must call it.

        Raises:
            UnprotectedTrainingError: the reference has changed.
        """
        if self._expected is None:
            return
        found = self._answer()
        difference = float("inf") if found is None else float((found - self._expected).abs().max())
        tolerance = _HALF_PRECISION_TOLERANCE if self._half else _TOLERANCES.get(self._dtype, _HALF_PRECISION_TOLERANCE)
        scale = 1 + float(self._expected.abs().max())
        # NaN is a change, too.
        if summed([float(not difference <= tolerance * scale)])[0]:
            raise UnprotectedTrainingError(
                f"the reference is no longer the aligned model at step {step}: its logits on a fixed row have moved by "
                f"{difference:.3g}. Base weights were changed, or an adapter was merged, exchanged or left on; nothing "
                "may change them while the run is held to them. Set reference.path to the aligned model, or "
                "reference.kind: frozen_copy"
            )

    @property
    def _dtype(self) -> torch.dtype:
        return self._reference.weights_dtype or torch.float32

    def _answer(self) -> Tensor | None:
        inside = callable_by_itself(self._anatomy.model, self._anatomy.decoder)
        with torch.no_grad(), preserved_random_state(), inside:
            online = self._reference.online()
            return None if online is None else online.logits(self._request).full.float().cpu()
