"""From a model and a configuration to an attachment; everything that can be wrong is found out here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from pact_plugins import plugins
from pact_plugins.errors import ConfigurationError
from pact_plugins.messages import announce
from pact_plugins.modeling import LiveHead, assistant_header_ids, dissect, preserved_random_state, preserved_sharding
from pact_plugins.safety_tokens import SafetyTokens
from pact_plugins.training.aligned import AlignedModel
from pact_plugins.training.anchor import Anchor
from pact_plugins.training.anchoring import build_anchor
from pact_plugins.training.attachment import Attachment
from pact_plugins.training.cached_reference import CachedReference
from pact_plugins.training.contributions import ContributionComputer
from pact_plugins.training.forward_pass import ForwardPass
from pact_plugins.training.gated_rows import GatedRows
from pact_plugins.training.probe import check_adapter_is_fresh, check_model, check_tokenizer_fits
from pact_plugins.training.reference import (
    AdapterOffReference,
    Reference,
    ReferenceContext,
    automatic_reference,
)
from pact_plugins.training.row_gate import RowGate
from pact_plugins.training.sequences import ContextRules
from pact_plugins.training.term import TermComputer
from pact_plugins.training.training_data import TrainingData, training_data
from pact_plugins.training.watched_tokens import watch_tokens

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
    reference: Reference | None
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

    The random-number state and the model's sharding are left as they were.

    Args:
        model: what the trainer calls; the hooks are put on by the attachment's ``attach_to_*``.
        tokenizer: its tokenizer.
        safety_tokens: given here, they override ``config.safety_tokens``.
        resumed: training continues from a checkpoint.
        precision: of the autocast that the forward pass runs under; None without one.
        train_dataloader: the trainer's, which a cached reference and ``anchor: gated`` read ahead.

    Raises:
        PACTError: any of the things named in its sub-classes.
    """
    if tokenizer is None:
        raise ConfigurationError("the trainer has no tokenizer (processing_class); PACT needs it")
    tokenizer = getattr(tokenizer, "tokenizer", tokenizer)
    anatomy = dissect(model)
    check_tokenizer_fits(anatomy, tokenizer)
    data = _data_to_gate(config, train_dataloader)
    half_precision = precision is not None
    with preserved_random_state(), preserved_sharding(anatomy.model):
        aligned = AlignedModel(anatomy, config, resumed=resumed)
        watched = watch_tokens(anatomy, aligned, tokenizer, config, safety_tokens)
        head = LiveHead(anatomy.causal_lm)
        probe_ids = check_model(anatomy, head, tokenizer, watched.token_ids, half_precision=half_precision)
        forward_pass = ForwardPass(anatomy.decoder)
        context = ReferenceContext(
            anatomy,
            config,
            watched.token_ids,
            resumed,
            forward_pass.paused,
            header_ids=_header_ids(tokenizer, config),
            opener_ids=watched.opener_ids if config.gates_rows else None,
            precision=precision,
            train_dataloader=train_dataloader,
        )
        reference, name, online = _build_reference(context, config)
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
                opener_ids=watched.opener_ids,
                threshold=watched.threshold,
                data=data,
            )
        if _switches_adapter_off(aligned, online, anchor) and anatomy.peft_model is not None and not resumed:
            check_adapter_is_fresh(anatomy, probe_ids, half_precision=half_precision)
        if isinstance(reference, CachedReference):
            reference.fill()
    gate = None
    if config.gates_rows:
        record = GatedRows(tokenizer, ContextRules.of(anatomy))
        gate = RowGate(config, threshold=watched.threshold, head=head, record=record)
    term = TermComputer(
        config,
        head=head,
        reference=reference,
        token_ids=watched.token_ids,
        weights=watched.weights,
        header_ids=context.header_ids,
        opener_ids=context.opener_ids,
    )
    contributions = ContributionComputer(
        term, coefficient=config.coefficient, gate=gate, anchor=anchor, anchor_coefficient=config.anchor_coef
    )
    announce(_summary(config, watched.safety_tokens, name, gate, anchor))
    attachment = Attachment(anatomy, forward_pass, contributions)
    return Preparation(attachment, watched.safety_tokens, name, reference, gate, anchor, tokenizer)


def _data_to_gate(config: PACTConfig, train_dataloader: Any) -> TrainingData | None:
    if config.anchor != "gated":
        return None
    data, unreadable = training_data(train_dataloader)
    if data is None:
        raise ConfigurationError(f"anchor: gated reads the training set before the first step, but {unreadable}")
    return data


def _header_ids(tokenizer: Any, config: PACTConfig) -> list[int] | None:
    if not config.holds_tokens or not config.objective_spec().needs_prompt_free(config.gate):
        return None
    return assistant_header_ids(tokenizer, config.assistant_header)


def _build_reference(context: ReferenceContext, config: PACTConfig) -> tuple[Reference | None, str | None, str | None]:
    """The reference, its name, and the name of the one that runs where it has no answer of its own."""
    if not config.holds_tokens and not config.gates_rows:
        return None, None, None
    automatic = automatic_reference(context)
    name = automatic if config.reference == "auto" else config.reference
    reference = plugins.references()[name](context)
    return reference, name, automatic if isinstance(reference, CachedReference) else name


def _switches_adapter_off(aligned: AlignedModel, reference_name: str | None, anchor: Anchor | None) -> bool:
    return reference_name == AdapterOffReference.name or (anchor is not None and aligned.path is None)


def _summary(
    config: PACTConfig,
    tokens: SafetyTokens | None,
    reference: str | None,
    gate: RowGate | None,
    anchor: Anchor | None,
) -> str:
    if tokens is None or config.objective_spec().full_vocabulary:
        scope = "the whole vocabulary"
    else:
        scope = f"{len(tokens)} safety tokens ({tokens.fingerprint})"
    parts = []
    if config.holds_tokens:
        parts.append(f"objective {config.objective}, kl_coef {config.coefficient:g}, {scope}, reference {reference}")
    if gate is not None:
        parts.append(f"gate {config.gate_training_rows} above {gate.threshold:.3g}")
    if anchor is not None:
        held = anchor.anchors
        parts.append(f"anchored to {held.harmful} harmful and {held.harmless} harmless replies ({held.fingerprint})")
    return "; ".join(parts)
