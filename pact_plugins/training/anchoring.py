"""From a configuration to an ``Anchor``: prompts, the reference's replies, its states, its output embedding."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pact_plugins.distributed import is_distributed
from pact_plugins.errors import ConfigurationError
from pact_plugins.guard import AnchorSet
from pact_plugins.guard.prompts import anchor_prompts, evenly_spread
from pact_plugins.guard.sampling import sampled_anchors
from pact_plugins.messages import announce, is_main_process
from pact_plugins.modeling import Anatomy, AutocastState, LiveHead, OutputHead, prompt_ids
from pact_plugins.safety_tokens.calibration import teacher_force
from pact_plugins.training.adapters import adapters_off
from pact_plugins.training.aligned import AlignedModel
from pact_plugins.training.anchor import Anchor
from pact_plugins.training.gated_prompts import gated_contexts
from pact_plugins.training.reference import FrozenCopyReference, Reference
from pact_plugins.training.sequences import ContextRules
from pact_plugins.training.training_data import TrainingData

if TYPE_CHECKING:
    from pact_plugins.config import PACTConfig


def build_anchor(
    anatomy: Anatomy,
    aligned: AlignedModel,
    tokenizer: Any,
    config: PACTConfig,
    *,
    reference: Reference | None,
    precision: torch.dtype | None,
    pause: Callable[[], Any],
    opener_ids: Tensor | None = None,
    threshold: float = 0.5,
    data: TrainingData | None = None,
) -> Anchor:
    """Sample the replies (or find them in the cache), and compute the reference's states on them.

    Args:
        reference: the term's, whose frozen output embedding is shared where it has one.
        precision: of the trainer's autocast, so that the states are those that training would see; None without.
        pause: hides a nested forward pass of the trained decoder from our hooks.
        opener_ids, threshold, data: the gate's, and the training set, for ``anchor: gated``.

    Raises:
        ConfigurationError: the prompts are unusable, or the reference is not the aligned model that ``aligned`` gives.
    """
    _refuse(anatomy, aligned, config)
    with aligned.running() as running:
        aligned.check_vocabulary(running)
        prompts = anchor_prompts(config)
        harmful = [prompt_ids(tokenizer, prompt) for prompt in prompts.harmful]
        harmless = [prompt_ids(tokenizer, prompt) for prompt in prompts.harmless]
        if data is not None and opener_ids is not None:
            harmful = _gated(running, data, opener_ids, threshold, config) or harmful
        anchors, _ = sampled_anchors(running.causal_lm, tokenizer, config, harmful=harmful, harmless=harmless)
        states = _reference_states(running, anchors, config, precision)
    # Outside: with the adapters off nothing looks trained, not even an output embedding that is.
    head = _reference_head(anatomy, aligned, running, reference)
    return Anchor(
        anatomy.decoder,
        LiveHead(anatomy.causal_lm),
        head,
        anchors,
        states,
        fraction=config.anchor_fraction,
        pause=pause,
    )


def _gated(
    running: Anatomy, data: TrainingData, opener_ids: Tensor, threshold: float, config: PACTConfig
) -> list[list[int]]:
    """As many contexts of gated rows as there are harmful anchors; none where no row is gated.

    The harmless half stays with prompts from elsewhere: those of the training rows ask for what the training is to
    change.
    """
    contexts = gated_contexts(running, data, opener_ids, threshold=threshold, rules=ContextRules.of(running))
    if not contexts:
        announce("anchor: the reference would refuse no request of the training set; harmful prompts are bundled ones")
        return []
    announce(f"anchor: the reference would refuse {len(contexts)} requests of the training set; they are anchors now")
    return evenly_spread(contexts, config.anchor_size - config.anchor_size // 2)


def _refuse(anatomy: Anatomy, aligned: AlignedModel, config: PACTConfig) -> None:
    if config.reference == FrozenCopyReference.name and aligned.path is None and anatomy.peft_model is not None:
        raise ConfigurationError(
            "anchor: with reference: frozen_copy the adapter's weights are part of the reference, so the replies "
            "cannot be sampled with the adapter off; set reference_model_path to the aligned model"
        )
    if is_distributed() and any(map(_checkpoints_reentrantly, anatomy.decoder.modules())):
        raise ConfigurationError(
            "anchor: reentrant gradient checkpointing hands DDP a gradient twice where the model runs twice; set "
            "gradient_checkpointing_kwargs: {use_reentrant: false}"
        )


def _checkpoints_reentrantly(module: nn.Module) -> bool:
    function: Any = getattr(module, "_gradient_checkpointing_func", None)
    if function is None or not getattr(module, "gradient_checkpointing", False):
        return False
    # A framework may have wrapped transformers' partial of torch's function.
    return bool(getattr(inspect.unwrap(function), "keywords", {}).get("use_reentrant"))


def _reference_states(
    running: Anatomy, anchors: AnchorSet, config: PACTConfig, precision: torch.dtype | None
) -> list[Tensor]:
    device = next(running.decoder.parameters()).device.type
    autocast: Any = nullcontext() if precision is None else AutocastState(device, True, precision)()
    with autocast:
        forced = teacher_force(
            running.decoder,
            LiveHead(running.causal_lm),
            anchors.sequences,
            batch_size=config.calibration_batch_size,
            description="reading anchors",
            progress=is_main_process(),
        )
    return forced.hidden_states


def _reference_head(
    anatomy: Anatomy, aligned: AlignedModel, running: Anatomy, reference: Reference | None
) -> Callable[[Tensor], Tensor]:
    """The aligned output embedding, without a copy wherever the one in memory does not move."""
    if isinstance(reference, FrozenCopyReference):
        return _on_all_tokens(reference.head)
    if aligned.path is not None:
        return _on_all_tokens(LiveHead(running.causal_lm).frozen())
    live = LiveHead(anatomy.causal_lm)
    embedding = anatomy.causal_lm.get_output_embeddings()
    if not any(parameter.requires_grad for parameter in embedding.parameters()):
        return _on_all_tokens(live)
    peft_model = anatomy.peft_model
    if peft_model is None:
        return _on_all_tokens(live.frozen())

    def with_adapters_off(states: Tensor) -> Tensor:
        with adapters_off(peft_model):
            return live.logits(states, None)

    return with_adapters_off


def _on_all_tokens(head: OutputHead) -> Callable[[Tensor], Tensor]:
    return lambda states: head.logits(states, None)
