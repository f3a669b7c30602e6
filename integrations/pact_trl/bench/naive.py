"""The published method as it is written down, for comparison: whole-vocabulary logits and two reference passes.

A second model in memory, logits of every position over the whole vocabulary from the trained model and from both
reference passes, the safety tokens picked out of them at the end.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from trl import SFTTrainer

from pact_plugins.objective import GateConfig, published
from pact_plugins.safety_tokens import SafetyTokens
from pact_plugins.training.prompt_free import prompt_free_batch
from pact_plugins.training.responses import find_responses


class NaiveTrainer(SFTTrainer):
    """``SFTTrainer`` whose loss is computed from whole-vocabulary logits."""

    def __init__(self, *args: Any, safety_tokens: SafetyTokens, header_ids: list[int], **kwargs: Any) -> None:
        self._reference = copy.deepcopy(kwargs["model"]).requires_grad_(False).eval()
        super().__init__(*args, **kwargs)
        self._reference.to(self.accelerator.device)
        self._token_ids = safety_tokens.token_ids.to(self.accelerator.device)
        self._weights = safety_tokens.weights.to(self.accelerator.device)
        self._header_ids = header_ids

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
        """Cross-entropy and the published term, both as means over the response tokens of the micro-batch."""
        labels = inputs["labels"]
        batch = {name: inputs[name] for name in ("input_ids", "attention_mask") if name in inputs}
        logits = model(**batch).logits
        responses = find_responses(labels)
        with torch.no_grad():
            full = self._reference(**batch).logits.float()
            prompt_free = prompt_free_batch(responses, self._header_ids)
            without = self._reference(
                input_ids=prompt_free.input_ids, attention_mask=prompt_free.attention_mask
            ).logits.float()
        cross_entropy = nn.functional.cross_entropy(logits.float()[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        divergence = published(
            self._of_safety_tokens(responses.select(logits.float())),
            self._of_safety_tokens(responses.select(full)),
            self._of_safety_tokens(without[prompt_free.rows, prompt_free.columns]),
            self._weights,
            responses.positions,
            temperature=2.0,
            gate=GateConfig(),
        )
        loss = cross_entropy + divergence.mean()
        return (loss, None) if return_outputs else loss

    def _of_safety_tokens(self, logits: Tensor) -> Tensor:
        return logits[:, self._token_ids]
