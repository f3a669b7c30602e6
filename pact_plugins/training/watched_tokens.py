"""Which tokens training looks at: the term's safety tokens, and the openers of the row gate and the gated anchor."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from pact_plugins.batch.openings import Openings, RefusalCriterion
from pact_plugins.errors import ConfigurationError, NoRowGateError
from pact_plugins.modeling import Anatomy
from pact_plugins.reference.aligned import AlignedModel
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
        criterion: what counts as a refusal; None where neither row gate, nor anchor, nor drift watch asks.
    """

    safety_tokens: SafetyTokens | None
    token_ids: Tensor | None
    weights: Tensor | None
    criterion: RefusalCriterion | None


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
    needs_openers = config.gates_rows or config.anchor == "gated" or config.drift_watch is not None
    if not needs_openers and (full_vocabulary or not config.holds_tokens):
        return WatchedTokens(None, None, None, None)
    tokens = given or _find_safety_tokens(aligned, tokenizer, config)
    _check_safety_tokens(tokens, tokenizer, anatomy.vocabulary_size, config)
    device = next(anatomy.decoder.parameters()).device
    criterion = _criterion(tokens, config) if needs_openers else None
    if not config.holds_tokens:
        # The row gate alone needs no logits: asking for those of a few tokens keeps the answer small.
        few = tokens.token_ids[:1].to(device)
        return WatchedTokens(tokens, few, None, criterion)
    if full_vocabulary:
        return WatchedTokens(tokens, None, None, criterion)
    return WatchedTokens(tokens, tokens.token_ids.to(device), tokens.weights.to(device), criterion)


def _find_safety_tokens(aligned: AlignedModel, tokenizer: Any, config: PACTConfig) -> SafetyTokens:
    if config.safety_tokens != "auto":
        return SafetyTokens.load(Path(config.safety_tokens).expanduser(), tokenizer=tokenizer)
    with aligned.running() as anatomy:
        return automatic_safety_tokens(anatomy.causal_lm, tokenizer, config)[0]


def _criterion(tokens: SafetyTokens, config: PACTConfig) -> RefusalCriterion:
    openings = tokens.refusal_openings
    if not openings:
        raise NoRowGateError(
            "row gate and drift watch need refusal openings, but the safety tokens name none, so nobody can say what "
            "the model would refuse: calibration found that it begins its answers to harmful and to harmless prompts "
            "alike. It may refuse the harmless ones too (give plain ones: harmless_prompts_path), refuse too few of "
            "the harmful ones (harmful_prompts_path), or think before it answers. preset: match needs no openings"
        )
    threshold = config.gate_threshold or tokens.refusal_threshold
    # A soft gate weighs every row by its mass; the others only ask on which side of the threshold it is.
    return RefusalCriterion(Openings(openings), threshold, 0.0 if config.gate_training_rows == "soft" else threshold)


def _check_safety_tokens(tokens: SafetyTokens, tokenizer: Any, vocabulary_size: int, config: PACTConfig) -> None:
    tokens.check_tokenizer(tokenizer)
    tokens.check_vocabulary(vocabulary_size)
    if config.objective_spec().needs_weights and not bool((tokens.weights > 0).any()):
        raise ConfigurationError(f"objective: {config.objective} needs safety tokens of positive weight, there is none")
