"""Which tokens training looks at: the term's safety tokens, and the openers of the row gate and the gated anchor."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pact_plugins.errors import ConfigurationError
from pact_plugins.modeling import Anatomy
from pact_plugins.reference.aligned import AlignedModel
from pact_plugins.row_gate.criterion import RefusalCriterion
from pact_plugins.safety_tokens import SafetyTokens
from pact_plugins.safety_tokens.automatic import automatic_safety_tokens

if TYPE_CHECKING:
    from pact_plugins.config import PACTConfig


@dataclass(frozen=True)
class WatchedTokens:
    """What term, gate and anchor look at, on the device where the decoder starts.

    Attributes:
        safety_tokens: None where nothing needs any.
        token_ids: (|S|,) whose logits the reference gives; None for the whole vocabulary.
        weights: (|S|,) of the safety tokens.
        opener_ids: (|R|,) refusal openers; None where neither gate nor anchor asks for them.
        threshold: refusal mass above which the reference refuses.
    """

    safety_tokens: SafetyTokens | None
    token_ids: Tensor | None
    weights: Tensor | None
    opener_ids: Tensor | None
    threshold: float

    @property
    def criterion(self) -> RefusalCriterion | None:
        """What counts as a refusal of the reference's; None where nobody asks."""
        return None if self.opener_ids is None else RefusalCriterion(self.opener_ids, self.threshold)


def watch_tokens(
    anatomy: Anatomy, aligned: AlignedModel, tokenizer: Any, config: PACTConfig, given: SafetyTokens | None
) -> WatchedTokens:
    """The tokens that ``config`` asks for, checked against model and tokenizer.

    Args:
        aligned: where ``safety_tokens: auto`` is calibrated.
        given: safety tokens that override ``config.safety_tokens``.

    Raises:
        SafetyTokensError: they belong to another tokenizer or vocabulary, or are damaged.
        ConfigurationError: they lack what the objective, the row gate or the anchor needs.
    """
    full_vocabulary = config.objective_spec().full_vocabulary
    needs_openers = config.gates_rows or config.anchor == "gated"
    threshold = config.gate_threshold or 0.5
    if not needs_openers and (full_vocabulary or not config.holds_tokens):
        return WatchedTokens(None, None, None, None, threshold)
    tokens = given or _find_safety_tokens(aligned, tokenizer, config)
    _check_safety_tokens(tokens, tokenizer, anatomy.vocabulary_size, config)
    device = next(anatomy.decoder.parameters()).device
    opener_ids = None
    if needs_openers:
        opener_ids = torch.tensor(_refusal_openers(tokens), device=device)
        threshold = config.gate_threshold or tokens.refusal_threshold
    if not config.holds_tokens:
        # The row gate alone needs no logits: asking for those of the openers keeps the answer small.
        return WatchedTokens(tokens, opener_ids, None, opener_ids, threshold)
    if full_vocabulary:
        return WatchedTokens(tokens, None, None, opener_ids, threshold)
    return WatchedTokens(tokens, tokens.token_ids.to(device), tokens.weights.to(device), opener_ids, threshold)


def _find_safety_tokens(aligned: AlignedModel, tokenizer: Any, config: PACTConfig) -> SafetyTokens:
    if config.safety_tokens != "auto":
        return SafetyTokens.load(Path(config.safety_tokens).expanduser(), tokenizer=tokenizer)
    with aligned.running() as anatomy:
        return automatic_safety_tokens(anatomy.causal_lm, tokenizer, config)[0]


def _refusal_openers(tokens: SafetyTokens) -> tuple[int, ...]:
    if not tokens.refusal_openers:
        raise ConfigurationError(
            "the row gate needs refusal openers, but the safety tokens name none, so nobody can say what the reference "
            "would refuse. Calibrate again (`pact calibrate MODEL`, or safety_tokens: auto); where that finds none "
            "either, the model begins refusals and help alike, as reasoning models do"
        )
    return tokens.refusal_openers


def _check_safety_tokens(tokens: SafetyTokens, tokenizer: Any, vocabulary_size: int, config: PACTConfig) -> None:
    tokens.check_tokenizer(tokenizer)
    tokens.check_vocabulary(vocabulary_size)
    if config.objective_spec().needs_weights and not bool((tokens.weights > 0).any()):
        raise ConfigurationError(f"objective: {config.objective} needs safety tokens of positive weight, there is none")
