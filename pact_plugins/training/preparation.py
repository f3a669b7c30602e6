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
from pact_plugins.training.attachment import Attachment
from pact_plugins.training.cached_reference import CachedReference
from pact_plugins.training.forward_pass import ForwardPass
from pact_plugins.training.probe import check_adapter_is_fresh, check_model, check_tokenizer_fits
from pact_plugins.training.reference import (
    AdapterOffReference,
    Reference,
    ReferenceContext,
    adapters_off,
    aligned_model_path,
    automatic_reference,
    load_aligned_model,
    refuse_unfaithful_adapter,
)
from pact_plugins.training.term import TermComputer

if TYPE_CHECKING:
    from pact_plugins.config import PACTConfig


@dataclass(frozen=True)
class Preparation:
    """What training starts with: the attachment (not attached yet) and what it was made of."""

    attachment: Attachment
    safety_tokens: SafetyTokens | None
    reference_name: str
    reference: Reference


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
    """Check the model, find the safety tokens, build the reference. The random-number state is left as it was.

    Args:
        model: what the trainer calls; the hooks are put on by the attachment's ``attach_to_*``.
        tokenizer: its tokenizer.
        safety_tokens: given here, they override ``config.safety_tokens``.
        resumed: training continues from a checkpoint.
        precision: of the autocast that the forward pass runs under; None without one.
        train_dataloader: the trainer's, for a reference that reads ahead.

    Raises:
        PACTError: any of the things named in its sub-classes.
    """
    if tokenizer is None:
        raise ConfigurationError("the trainer has no tokenizer (processing_class); PACT needs it")
    tokenizer = getattr(tokenizer, "tokenizer", tokenizer)
    anatomy = dissect(model)
    objective = config.objective_spec()
    check_tokenizer_fits(anatomy, tokenizer)
    with preserved_random_state():
        tokens = None
        if not objective.full_vocabulary:
            tokens = safety_tokens or _find_safety_tokens(anatomy, tokenizer, config, resumed=resumed)
            _check_safety_tokens(tokens, tokenizer, anatomy.vocabulary_size, config)
        token_ids, weights = _on_device(tokens, anatomy)
        head = LiveHead(anatomy.causal_lm)
        probe_ids = check_model(anatomy, head, tokenizer, token_ids, half_precision=precision is not None)
        header_ids = (
            assistant_header_ids(tokenizer, config.assistant_header)
            if objective.needs_prompt_free(config.gate)
            else None
        )
        forward_pass = ForwardPass(anatomy.decoder)
        context = ReferenceContext(
            anatomy,
            config,
            token_ids,
            resumed,
            forward_pass.paused,
            header_ids=header_ids,
            precision=precision,
            train_dataloader=train_dataloader,
        )
        automatic = automatic_reference(context)
        name = automatic if config.reference == "auto" else config.reference
        reference = plugins.references()[name](context)
        online = automatic if isinstance(reference, CachedReference) else name
        if online == AdapterOffReference.name and not resumed:
            check_adapter_is_fresh(anatomy, probe_ids, half_precision=precision is not None)
        if isinstance(reference, CachedReference):
            reference.fill()
    term = TermComputer(
        config, head=head, reference=reference, token_ids=token_ids, weights=weights, header_ids=header_ids
    )
    attachment = Attachment(anatomy, forward_pass, term, coefficient=config.coefficient)
    announce(_summary(config, tokens, name))
    return Preparation(attachment, tokens, name, reference)


def _find_safety_tokens(anatomy: Any, tokenizer: Any, config: PACTConfig, *, resumed: bool) -> SafetyTokens:
    if config.safety_tokens != "auto":
        return SafetyTokens.load(Path(config.safety_tokens).expanduser(), tokenizer=tokenizer)
    # An adapter that has moved already can be switched off.
    path = aligned_model_path(anatomy, config, resumed=resumed and anatomy.peft_model is None)
    if path is not None:
        return automatic_safety_tokens(load_aligned_model(path, anatomy).causal_lm, tokenizer, config)[0]
    if anatomy.peft_model is None:
        if resumed:
            raise ConfigurationError(
                "training continues from weights that have moved, so the aligned model's safety tokens cannot be found "
                "with them; set safety_tokens to the file that the first run left in its output folder"
            )
        return automatic_safety_tokens(anatomy.causal_lm, tokenizer, config)[0]
    refuse_unfaithful_adapter(anatomy.peft_model)
    with adapters_off(anatomy.peft_model):
        return automatic_safety_tokens(anatomy.causal_lm, tokenizer, config)[0]


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


def _summary(config: PACTConfig, tokens: SafetyTokens | None, reference: str) -> str:
    scope = "the whole vocabulary" if tokens is None else f"{len(tokens)} safety tokens ({tokens.fingerprint})"
    return f"objective {config.objective}, kl_coef {config.coefficient:g}, {scope}, reference {reference}"
