"""The anchor on a trainer: a nested forward pass over a few of the reference's own replies, held to the reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pact_plugins.guard import AnchorSet, Draw, drawn_indices, reference_divergence
from pact_plugins.modeling import AutocastState, OutputHead
from pact_plugins.safety_tokens.calibration import right_padded


class Anchor:
    """Divergence from the reference on anchors that rotate with the micro-batches.

    What is kept of the reference are its last hidden states at the response positions: exact, and a hundred times
    smaller than log-probabilities over a large vocabulary. Its output embedding projects them when they are needed.

    Args:
        decoder: the trained one.
        head: the trained model's output embedding.
        reference_logits: the reference's output embedding, (P, hidden) -> (P, V), called without gradient.
        anchors: the sequences.
        reference_states: per anchor (R_i, hidden), the reference's states that predict its reply; on the CPU.
        fraction: anchors per response of the micro-batch.
        pause: a context manager that hides a nested forward pass from our hooks.
    """

    def __init__(
        self,
        decoder: nn.Module,
        head: OutputHead,
        reference_logits: Callable[[Tensor], Tensor],
        anchors: AnchorSet,
        reference_states: Sequence[Tensor],
        *,
        fraction: float,
        pause: Callable[[], Any],
    ) -> None:
        self._decoder, self._head, self._reference_logits = decoder, head, reference_logits
        self.anchors, self._reference_states = anchors, reference_states
        self._fraction, self._pause = fraction, pause

    def __call__(self, response_count: int, draw: Draw, autocast: AutocastState) -> Tensor:
        """``KL(reference || model)`` over the vocabulary at each reply position of the drawn anchors: (P,) float32.

        The decoder runs as the trainer has set it: gradient checkpointing, dropout and precision are those of the
        batch itself.

        Args:
            response_count: responses in the micro-batch.
            draw: the place of the micro-batch in the run.
            autocast: the precision of the trainer's forward pass.
        """
        count = min(max(1, round(self._fraction * response_count)), len(self.anchors))
        drawn = drawn_indices(draw, count, harmful=self.anchors.harmful, harmless=self.anchors.harmless)
        sequences = [self.anchors.sequences[index] for index in drawn]
        device = next(self._decoder.parameters()).device
        input_ids, attention_mask = right_padded(sequences, device)
        with self._pause(), autocast():
            hidden = self._decoder(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)[0]
        states = torch.cat(
            [
                hidden[row, len(sequence.context_ids) - 1 :][: len(sequence.response_ids)]
                for row, sequence in enumerate(sequences)
            ]
        )
        reference_states = torch.cat([self._reference_states[index] for index in drawn]).to(states.device)
        return reference_divergence(self._head, self._reference_logits, states, reference_states)
