"""The reference gate on a trainer: which responses are gated, what their loss weighs, and a record of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pact_plugins.guard import row_weights, token_cross_entropy
from pact_plugins.guard.weights import is_gated
from pact_plugins.modeling import OutputHead
from pact_plugins.training.gated_rows import GatedRows
from pact_plugins.training.responses import Responses

if TYPE_CHECKING:
    from pact_plugins.config import PACTConfig


@dataclass(frozen=True)
class Gated:
    """One micro-batch's verdicts: the weight (N,) of each response token's loss, and how many responses are gated."""

    weights: Tensor
    count: int


class RowGate:
    """Weighs the cross-entropy of each response by what the reference would have answered.

    Args:
        config: mode and threshold.
        head: the trained model's, for the cross-entropy of trainers that offer no per-token log-probabilities.
        record: remembers the gated responses.
    """

    def __init__(self, config: PACTConfig, *, head: OutputHead, record: GatedRows) -> None:
        self._mode, self._threshold = config.gate_training_rows, config.gate_threshold
        self._head, self.record = head, record
        self.weighs = config.weighs_rows

    def weigh(self, responses: Responses, decoder_inputs: dict[str, Any], refusal_mass: Tensor) -> Gated:
        """Weights from the (number of responses,) refusal mass; gated responses go on record."""
        gated = is_gated(refusal_mass, threshold=self._threshold)
        if bool(gated.any()):
            self.record.add(decoder_inputs, responses, refusal_mass, gated)
        weights = row_weights(refusal_mass, self._mode, threshold=self._threshold)
        return Gated(weights.to(responses.response_index.device)[responses.response_index], int(gated.sum()))

    def correction(
        self, responses: Responses, weights: Tensor, hidden_states: Tensor, log_probs: Tensor | None
    ) -> Tensor:
        """``(w_t - 1) CE_t``: (N,) float32; added to the framework's own ``CE_t``, it leaves ``w_t CE_t``.

        Args:
            weights: (N,).
            hidden_states: (N, hidden), the states that predict the response tokens.
            log_probs: (B, L - 1) the framework's own, where there are any; the cross-entropy is then read off them.
        """
        weighted = (weights != 1).nonzero()[:, 0]
        if log_probs is not None:
            rows, columns = responses.rows[weighted], responses.columns[weighted]
            cross_entropy = -log_probs[rows.to(log_probs.device), columns.to(log_probs.device)].float()
        else:
            states = hidden_states[weighted.to(hidden_states.device)]
            cross_entropy = token_cross_entropy(self._head, states, responses.token_ids[weighted])
        device = cross_entropy.device
        # Without a gated token there is still something for the receipt to hang on.
        values = torch.zeros(len(responses), device=device, requires_grad=True)
        index = weighted.to(device)
        return values.index_add(0, index, (weights.to(device)[index] - 1.0) * cross_entropy)
