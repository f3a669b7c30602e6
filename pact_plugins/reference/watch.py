"""Proof of the reference while training: what it says of one fixed row must stay what it said at the start."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pact_plugins.batch.responses import find_responses
from pact_plugins.contracts import Reference, ReferenceRequest
from pact_plugins.distributed import summed
from pact_plugins.errors import UnprotectedTrainingError
from pact_plugins.modeling import AutocastState, preserved_random_state

_TOLERANCES = {torch.float32: 1e-4, torch.float64: 1e-8}
_HALF_PRECISION_TOLERANCE = 5e-2


class ReferenceWatch:
    """Remembers the reference's logits on a fixed row, and looks at them again.

    Args:
        reference: whose answer is checked; one that says nothing of unseen rows (``None``) is not.
        token_ids: (|S|,) whose logits are compared; None for the whole vocabulary.
        input_ids: (1, L) the row; its second half is taken for a response.
        precision: of the autocast that the trainer's forward pass runs under; None without one.
    """

    def __init__(
        self, reference: Reference, token_ids: Tensor | None, input_ids: Tensor, precision: torch.dtype | None
    ) -> None:
        labels = input_ids.clone()
        labels[:, : input_ids.size(1) // 2] = -100
        autocast = AutocastState(input_ids.device.type, precision is not None, precision or torch.bfloat16)
        inputs: dict[str, Any] = {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids)}
        self._request = ReferenceRequest(inputs, find_responses(labels), token_ids, None, autocast, None)
        self._reference, self._half = reference, precision is not None
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
                "may change them while the run is held to them. Set reference_model_path to the aligned model, or "
                "reference: frozen_copy"
            )

    @property
    def _dtype(self) -> torch.dtype:
        return self._reference.weights_dtype or torch.float32

    def _answer(self) -> Tensor | None:
        with torch.no_grad(), preserved_random_state():
            online = self._reference.online()
            return None if online is None else online.logits(self._request).full.float().cpu()
