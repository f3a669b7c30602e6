"""The reference gate on a trainer: which responses are gated, what their loss weighs, and a record of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pact_plugins.errors import ConfigurationError
from pact_plugins.guard import row_weights, token_cross_entropy
from pact_plugins.guard.weights import is_gated
from pact_plugins.messages import announce
from pact_plugins.modeling import OutputHead
from pact_plugins.training.gated_rows import GatedRows
from pact_plugins.training.responses import Responses

if TYPE_CHECKING:
    from pact_plugins.config import PACTConfig


# A share of gated responses that speaks of the reference rather than of the data, and when it can be told.
_MANY, _ENOUGH = 0.2, 100


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
        self._seen, self._gated, self._has_warned = 0, 0, False

    def weigh(
        self, responses: Responses, decoder_inputs: dict[str, Any], labels: Tensor, refusal_mass: Tensor
    ) -> Gated:
        """Weights from the (number of responses,) refusal mass; gated responses go on record.

        Raises:
            ConfigurationError: the labels begin with the rows themselves, so that there is no prompt to judge.
        """
        if len(responses) and not bool(responses.columns[responses.first_tokens].any()):
            raise ConfigurationError(
                "gate_training_rows: the labels begin with the first token of every row, so prompts are trained on as "
                "if they were responses (train_on_inputs, train_on_prompt ...); train on the responses alone"
            )
        gated = is_gated(refusal_mass, threshold=self._threshold)
        if bool(gated.any()):
            self.record.add(decoder_inputs, labels, refusal_mass, gated)
        self._warn_of_many(len(gated), int(gated.sum()))
        weights = row_weights(refusal_mass, self._mode, threshold=self._threshold)
        return Gated(weights.to(responses.response_index.device)[responses.response_index], int(gated.sum()))

    def _warn_of_many(self, responses: int, gated: int) -> None:
        """A reference that refuses the task itself would have its loss switched off."""
        self._seen, self._gated = self._seen + responses, self._gated + gated
        if not self._has_warned and self._seen >= _ENOUGH and self._gated > _MANY * self._seen:
            self._has_warned = True
            announce(
                f"gate_training_rows: {self._mode}: the reference would refuse {self._gated} of the first {self._seen} "
                "responses' requests. Does it refuse your task itself? Raise gate_threshold, or look at the rows with "
                "gate_training_rows: report"
            )

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
