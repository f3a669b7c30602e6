"""From a configuration to an ``Anchor``: prompts, the reference's replies, its states, its output embedding."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from torch import Tensor

from pact_plugins.anchor.anchors import AnchorSet
from pact_plugins.anchor.part import ANCHORS_FILE, Anchor, HeldReplies
from pact_plugins.anchor.prompts import anchor_prompts
from pact_plugins.anchor.sampling import sampled_anchors
from pact_plugins.anchor.settings import GATED, AnchorSettings
from pact_plugins.batch.teacher_forcing import teacher_force
from pact_plugins.contracts import PartContext
from pact_plugins.distributed import is_distributed
from pact_plugins.errors import ConfigurationError
from pact_plugins.messages import announce, is_main_process
from pact_plugins.modeling import AutocastState, LiveHead, ModelParts, OutputHead, checkpointed_modules, question_ids
from pact_plugins.prompts import evenly_spread
from pact_plugins.prompts.own import HARMFUL
from pact_plugins.reference.adapters import adapters_off
from pact_plugins.reference.faithfulness import left_when_off


def build_anchor(context: PartContext[AnchorSettings]) -> Anchor:
    """Sample the replies (or find them in the cache), and compute the reference's states on them.

    Raises:
        ConfigurationError: the prompts are unusable, the training set cannot be read for ``prompts: gated``, or the
            reference is not the aligned model.
    """
    settings = context.settings
    context.aligned.check_adapter_is_no_part()
    _leave_reentrant_checkpointing(context.model_parts)
    left = _left_by_the_run(context)
    with context.aligned.running() as running:
        context.aligned.check_vocabulary(running)
        anchors = _sampled(context, running) if left is None else left
        states = _reference_states(running, anchors, context)
    held = {prompt.text for prompts in anchor_prompts(settings).values() for prompt in prompts}
    # Outside: with the adapters off nothing looks trained, not even an output embedding that is.
    return Anchor(context, HeldReplies(anchors, states, _reference_head(context, running), held))


def _left_by_the_run(context: PartContext[AnchorSettings]) -> AnchorSet | None:
    """Those of the run that goes on: sampled again they might be others."""
    file = None if context.resumed_in is None else context.resumed_in / ANCHORS_FILE
    return None if file is None or not file.is_file() else AnchorSet.load(file)


def _sampled(context: PartContext[AnchorSettings], running: ModelParts) -> AnchorSet:
    settings = context.settings
    asked = {
        kind: [question_ids(context.tokenizer, one.messages, **one.template_arguments) for one in prompts]
        for kind, prompts in anchor_prompts(settings).items()
    }
    if settings.prompts == GATED:
        asked[HARMFUL] = _refused(context, settings) or asked[HARMFUL]
    return sampled_anchors(running.causal_lm, context, asked)[0]


def _refused(context: PartContext[AnchorSettings], settings: AnchorSettings) -> list[list[int]]:
    """As many of the training set's refused requests as there are harmful anchors; none where none is refused.

    The harmless half stays with prompts from elsewhere: those of the training rows ask for what the training is to
    change.
    """
    assert context.refusals is not None
    assert context.safety_tokens is not None
    try:
        contexts = context.refusals.refused_contexts(context.safety_tokens.refusal_threshold)
    except ConfigurationError as error:
        raise ConfigurationError(f"anchor.prompts: gated: {error}") from error
    if not contexts:
        announce("anchor: the reference would refuse no request of the training set; harmful prompts are bundled ones")
        return []
    announce(f"anchor: the reference would refuse {len(contexts)} requests of the training set; they are anchors now")
    return evenly_spread(contexts, settings.replies - settings.replies // 2)


def _leave_reentrant_checkpointing(model_parts: ModelParts) -> None:
    """Where the model runs twice, reentrant checkpointing hands DDP a gradient twice; the other kind does not.

    The trainer switches its own kind on again in every ``train()``.
    """
    if not is_distributed():
        return
    reentrant = [found for found in _checkpointing_settings(model_parts) if found.get("use_reentrant")]
    for found in reentrant:
        found["use_reentrant"] = False
    if reentrant:
        announce(
            "anchor: gradient checkpointing is not reentrant in this run, as on several processes the anchor needs it; "
            "the gradients are the same"
        )


def _checkpointing_settings(model_parts: ModelParts) -> list[dict[str, Any]]:
    """The keywords that the layers' checkpointing functions are called with, to be changed in place."""
    functions = [
        getattr(one, "_gradient_checkpointing_func", None) for one in checkpointed_modules(model_parts.decoder)
    ]
    # A framework may have wrapped transformers' partial of torch's function.
    unwrapped = [inspect.unwrap(function) for function in functions if function is not None]
    return [function.keywords for function in unwrapped if isinstance(function, functools.partial)]


def _reference_states(running: ModelParts, anchors: AnchorSet, context: PartContext[AnchorSettings]) -> list[Tensor]:
    device, precision = next(running.decoder.parameters()).device.type, context.precision
    autocast: Any = nullcontext() if precision is None else AutocastState(device, True, precision)()
    with autocast:
        forced = teacher_force(
            running.decoder,
            LiveHead(running.causal_lm),
            anchors.sequences,
            batch_size=context.batch_size,
            description="reading anchors",
            progress=is_main_process(),
        )
    return forced.hidden_states


def _reference_head(context: PartContext[AnchorSettings], running: ModelParts) -> Callable[[Tensor], Tensor]:
    """The aligned output embedding, without a copy wherever the one in memory does not move."""
    frozen = None if context.reference is None else context.reference.frozen_head()
    if frozen is not None:
        return _on_all_tokens(frozen)
    model_parts = context.model_parts
    if context.aligned.path is not None:
        return _on_all_tokens(LiveHead(running.causal_lm).frozen())
    live = LiveHead(model_parts.causal_lm)
    embedding = model_parts.causal_lm.get_output_embeddings()
    if not any(parameter.requires_grad for parameter in embedding.parameters()):
        return _on_all_tokens(live)
    peft_model = model_parts.peft_model
    if peft_model is None or left_when_off(model_parts):
        return _on_all_tokens(live.frozen())

    def with_adapters_off(states: Tensor) -> Tensor:
        with adapters_off(peft_model):
            return live.logits(states, None)

    return with_adapters_off


def _on_all_tokens(head: OutputHead) -> Callable[[Tensor], Tensor]:
    return lambda states: head.logits(states, None)
