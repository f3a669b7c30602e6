"""From a model and a configuration to an attachment; everything that can be wrong is found out here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pact_plugins import plugins
from pact_plugins.errors import ConfigurationError
from pact_plugins.messages import announce
from pact_plugins.modeling import LiveHead, assistant_header_ids, dissect, preserved_random_state
from pact_plugins.safety_tokens import SafetyTokens
from pact_plugins.safety_tokens.automatic import automatic_safety_tokens
from pact_plugins.training.aligned import AlignedModel
from pact_plugins.training.anchor import Anchor
from pact_plugins.training.anchoring import build_anchor
from pact_plugins.training.attachment import Attachment
from pact_plugins.training.contributions import ContributionComputer
from pact_plugins.training.forward_pass import ForwardPass
from pact_plugins.training.gated_rows import GatedRows
from pact_plugins.training.probe import check_adapter_is_fresh, check_model, check_tokenizer_fits
from pact_plugins.training.reference import (
    AdapterOffReference,
    ReferenceContext,
    automatic_reference,
)
from pact_plugins.training.row_gate import RowGate
from pact_plugins.training.sequences import ContextRules
from pact_plugins.training.term import TermComputer
from pact_plugins.training.training_data import training_data

if TYPE_CHECKING:
    from pact_plugins.config import PACTConfig


SAFETY_TOKENS_FILE = "pact_safety_tokens.safetensors"
ANCHORS_FILE = "pact_anchors.safetensors"


@dataclass(frozen=True)
class Preparation:
    """What training starts with: the attachment (not attached yet) and what it was made of."""

    attachment: Attachment
    safety_tokens: SafetyTokens | None
    reference_name: str | None
    gate: RowGate | None
    anchor: Anchor | None
    tokenizer: Any

    def save(self, folder: Path) -> None:
        """Leave copies of the safety tokens and of the anchors in ``folder``."""
        if self.safety_tokens is not None:
            self.safety_tokens.save(folder / SAFETY_TOKENS_FILE)
        if self.anchor is not None:
            self.anchor.anchors.save(folder / ANCHORS_FILE, tokenizer=self.tokenizer)


def prepare(
    model: nn.Module,
    tokenizer: Any,
    config: PACTConfig,
    *,
    safety_tokens: SafetyTokens | None = None,
    resumed: bool = False,
    precision: torch.dtype | None = None,
    train_dataloader: Any = None,
) -> Preparation:
    """Check the model, find the safety tokens, build reference, gate and anchor.

    The random-number state is left as it was.

    Args:
        model: what the trainer calls; the hooks are put on by the attachment's ``attach_to_*``.
        tokenizer: its tokenizer.
        safety_tokens: given here, they override ``config.safety_tokens``.
        resumed: training continues from a checkpoint.
        precision: of the autocast that the forward pass runs under; None without one.
        train_dataloader: the trainer's, which ``anchor: gated`` reads ahead.

    Raises:
        PACTError: any of the things named in its sub-classes.
    """
    if tokenizer is None:
        raise ConfigurationError("the trainer has no tokenizer (processing_class); PACT needs it")
    tokenizer = getattr(tokenizer, "tokenizer", tokenizer)
    anatomy = dissect(model)
    objective = config.objective_spec()
    check_tokenizer_fits(anatomy, tokenizer)
    holds, gates = config.coefficient > 0, config.gate_training_rows != "off"
    needs_openers = gates or config.anchor == "gated"
    data, unreadable = training_data(train_dataloader)
    if config.anchor == "gated" and data is None:
        raise ConfigurationError(f"anchor: gated reads the training set before the first step, but {unreadable}")
    with preserved_random_state():
        aligned = AlignedModel(anatomy, config, resumed=resumed)
        tokens = None
        if (holds and not objective.full_vocabulary) or needs_openers:
            tokens = safety_tokens or _find_safety_tokens(aligned, tokenizer, config)
            _check_safety_tokens(tokens, tokenizer, anatomy.vocabulary_size, config)
        opener_ids = _opener_ids(tokens, anatomy) if tokens is not None and needs_openers else None
        token_ids, weights = _on_device(None if objective.full_vocabulary else tokens, anatomy)
        head = LiveHead(anatomy.causal_lm)
        probe_ids = check_model(anatomy, head, tokenizer, token_ids, half_precision=precision is not None)
        header_ids = (
            assistant_header_ids(tokenizer, config.assistant_header)
            if holds and objective.needs_prompt_free(config.gate)
            else None
        )
        forward_pass = ForwardPass(anatomy.decoder)
        reference, name = None, None
        if holds or gates:
            context = ReferenceContext(anatomy, config, token_ids, resumed, forward_pass.paused)
            name = automatic_reference(context) if config.reference == "auto" else config.reference
            reference = plugins.references()[name](context)
        anchor = None
        if config.anchor != "off":
            anchor = build_anchor(
                anatomy,
                aligned,
                tokenizer,
                config,
                reference=reference,
                precision=precision,
                pause=forward_pass.paused,
                opener_ids=opener_ids,
                data=data if config.anchor == "gated" else None,
            )
        if _switches_adapter_off(aligned, name, anchor) and anatomy.peft_model is not None and not resumed:
            check_adapter_is_fresh(anatomy, probe_ids, half_precision=precision is not None)
    term = TermComputer(
        config,
        head=head,
        reference=reference,
        token_ids=token_ids,
        weights=weights,
        header_ids=header_ids,
        opener_ids=opener_ids if gates else None,
    )
    gate = RowGate(config, head=head, record=GatedRows(tokenizer, ContextRules.of(anatomy))) if gates else None
    contributions = ContributionComputer(
        term, coefficient=config.coefficient, gate=gate, anchor=anchor, anchor_coefficient=config.anchor_coef
    )
    announce(_summary(config, tokens, name, anchor))
    return Preparation(Attachment(anatomy, forward_pass, contributions), tokens, name, gate, anchor, tokenizer)


def _switches_adapter_off(aligned: AlignedModel, reference_name: str | None, anchor: Anchor | None) -> bool:
    return reference_name == AdapterOffReference.name or (anchor is not None and aligned.path is None)


def _find_safety_tokens(aligned: AlignedModel, tokenizer: Any, config: PACTConfig) -> SafetyTokens:
    if config.safety_tokens != "auto":
        return SafetyTokens.load(Path(config.safety_tokens).expanduser(), tokenizer=tokenizer)
    with aligned.running() as anatomy:
        return automatic_safety_tokens(anatomy.causal_lm, tokenizer, config)[0]


def _opener_ids(tokens: SafetyTokens, anatomy: Any) -> Tensor:
    openers = tokens.refusal_openers
    if not openers:
        raise ConfigurationError(
            "the gate needs refusal openers, but the safety tokens name none, so nobody can say what the reference "
            "would refuse. Calibrate again (`pact calibrate MODEL`, or safety_tokens: auto); where that finds none "
            "either, the model begins refusals and help alike, as reasoning models do"
        )
    return torch.tensor(openers, device=next(anatomy.decoder.parameters()).device)


def _check_safety_tokens(tokens: SafetyTokens, tokenizer: Any, vocabulary_size: int, config: PACTConfig) -> None:
    tokens.check_tokenizer(tokenizer)
    tokens.check_vocabulary(vocabulary_size)
    if config.objective_spec().needs_weights and not bool((tokens.weights > 0).any()):
        raise ConfigurationError(f"objective: {config.objective} needs safety tokens of positive weight, there is none")


def _on_device(tokens: SafetyTokens | None, anatomy: Any) -> tuple[Tensor | None, Tensor | None]:
    if tokens is None:
        return None, None
    device = next(anatomy.decoder.parameters()).device
    return tokens.token_ids.to(device), tokens.weights.to(device)


def _summary(config: PACTConfig, tokens: SafetyTokens | None, reference: str | None, anchor: Anchor | None) -> str:
    scope = "the whole vocabulary" if tokens is None else f"{len(tokens)} safety tokens ({tokens.fingerprint})"
    parts = []
    if config.coefficient > 0:
        parts.append(f"objective {config.objective}, kl_coef {config.coefficient:g}, {scope}, reference {reference}")
    if config.gate_training_rows != "off":
        parts.append(f"gate {config.gate_training_rows} above {config.gate_threshold:g}")
    if anchor is not None:
        held = anchor.anchors
        parts.append(f"anchored to {held.harmful} harmful and {held.harmless} harmless replies ({held.fingerprint})")
    return "; ".join(parts)
