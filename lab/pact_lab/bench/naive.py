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

from pact_plugins.batch.prompt_free import prompt_free_batch
from pact_plugins.batch.responses import find_responses
from pact_plugins.contracts import MixtureSettings
from pact_plugins.safety_tokens import SafetyTokens
from pact_plugins.term.divergence import published


class LogitsTrainer(SFTTrainer):
    """``SFTTrainer`` whose cross-entropy is computed from whole-vocabulary logits: what the naive term is added to."""

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
        """Cross-entropy plus ``term``, both as means over the response tokens of the micro-batch."""
        labels = inputs["labels"]
        batch = {name: inputs[name] for name in ("input_ids", "attention_mask") if name in inputs}
        logits = model(**batch).logits.float()
        cross_entropy = nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        loss = cross_entropy + self.term(logits, labels, batch)
        return (loss, None) if return_outputs else loss

    def term(self, _logits: Tensor, _labels: Tensor, _batch: dict[str, Tensor], /) -> Tensor | float:
        """What is added to the cross-entropy: nothing."""
        return 0.0


class NaiveTrainer(LogitsTrainer):
    """The published term from a second model's whole-vocabulary logits."""

    def __init__(self, *args: Any, safety_tokens: SafetyTokens, header_ids: list[int], **kwargs: Any) -> None:
        self._reference = copy.deepcopy(kwargs["model"]).requires_grad_(False).eval()
        super().__init__(*args, **kwargs)
        self._reference.to(self.accelerator.device)
        self._token_ids = safety_tokens.token_ids.to(self.accelerator.device)
        self._weights = safety_tokens.weights.to(self.accelerator.device)
        self._header_ids = header_ids

    def term(self, logits: Tensor, labels: Tensor, batch: dict[str, Tensor], /) -> Tensor:
        """The published divergence."""
        responses = find_responses(labels)
        with torch.no_grad():
            full = self._reference(**batch).logits.float()
            prompt_free = prompt_free_batch(responses, self._header_ids)
            laid_out = (prompt_free.input_ids, prompt_free.attention_mask)
            input_ids, attention_mask = (torch.from_numpy(values).to(labels.device) for values in laid_out)
            without = self._reference(input_ids=input_ids, attention_mask=attention_mask).logits.float()
        divergence = published(
            self._of_safety_tokens(responses.select(logits)),
            self._of_safety_tokens(responses.select(full)),
            self._of_safety_tokens(without[prompt_free.rows, prompt_free.columns]),
            self._weights,
            responses.positions,
            temperature=2.0,
            mixture=MixtureSettings(),
        )
        return divergence.mean()

    def _of_safety_tokens(self, logits: Tensor) -> Tensor:
        return logits[:, self._token_ids]
