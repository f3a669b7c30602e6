"""The frozen aligned reference: its logits on the safety tokens, at the response positions only."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy
import torch
from torch import Tensor, nn

from pact_plugins.batch.host import to_device
from pact_plugins.batch.openings import RefusalCriterion, Replier, opening_mass
from pact_plugins.batch.prompt_free import prompt_free_batch, similar_lengths
from pact_plugins.contracts.reference import (
    Capabilities,
    Reference,
    ReferenceContext,
    ReferenceLogits,
    ReferenceRequest,
)
from pact_plugins.errors import ConfigurationError, PartUnavailableError
from pact_plugins.messages import announce, warn
from pact_plugins.modeling import (
    AutocastState,
    LiveHead,
    ModelParts,
    OutputHead,
    evaluation_mode,
    is_sharded,
    model_fingerprint,
)
from pact_plugins.modeling.rotary import preserved_rotary_state, remembers_batches, rotary_state, set_rotary_state
from pact_plugins.reference.adapters import adapters_off, refuse_moved_base, refuse_unfaithful_adapter
from pact_plugins.reference.aligned_checkpoint import aligned_model_path, check_vocabulary, load_aligned_model
from pact_plugins.reference.faithfulness import left_when_off, named

INSEPARABLE = (
    "the rows cannot be taken apart: packed ones see one another (LLaMA-Factory: neat_packing: true keeps them apart, "
    "and so do flash attention's kernels), or they hold more than text"
)


class DecoderReference(Reference):
    """Runs a decoder without gradient and projects the response positions on the safety tokens.

    Args:
        trained: the decoder in training where the reference is another one, which must rotate as that one does.
    """

    name = "decoder"
    capabilities = Capabilities(prompt_free=True, refusal_mass=True, whole_vocabulary=True)

    def __init__(self, decoder: nn.Module, head: OutputHead, trained: nn.Module | None = None) -> None:
        self.decoder, self.head = decoder, head
        self._followed = trained if remembers_batches(trained) else None
        self._has_told_of_bounds = False

    @property
    def weights_dtype(self) -> torch.dtype:
        return next(self.decoder.parameters()).dtype

    @contextmanager
    def _active(self) -> Iterator[None]:
        with torch.no_grad(), evaluation_mode(self.decoder):
            yield

    def logits(self, request: ReferenceRequest) -> ReferenceLogits:
        # A cache would hide packed sequences from transformers' attention mask; not every decoder knows of one.
        inputs = {**request.decoder_inputs, "use_cache": False}
        if "past_key_values" in inputs:
            inputs["past_key_values"] = None
        if self._followed is not None:
            set_rotary_state(self.decoder, rotary_state(self._followed))
        with self._active():
            with request.autocast():
                hidden = request.responses.select(self.decoder(**inputs)[0])
            full = self.head.logits(hidden, request.token_ids)
            normaliser = None
            if request.measured is not None:
                measured = hidden[request.measured.to(hidden.device)]
                normaliser = self.head.logits(measured, None).logsumexp(dim=-1)
            refusal_mass = self._refusal_mass(hidden, request)
            return ReferenceLogits(full, self._prompt_free(request), normaliser, refusal_mass)

    def _refusal_mass(self, hidden: Tensor, request: ReferenceRequest) -> Tensor | None:
        if request.refusals is None:
            return None
        first = hidden[to_device(request.responses.first_places, hidden.device)]
        # Of what begins longer, nothing can be asked: what is certain is a lower bound.
        criterion = self._bounded(request.refusals)
        return opening_mass(self._replier(request.autocast), [[]] * len(first), criterion, first)

    def refusal_mass(
        self, contexts: Sequence[Sequence[int]], criterion: RefusalCriterion, autocast: AutocastState
    ) -> Tensor:
        with self._active(), preserved_rotary_state(self.decoder):
            return opening_mass(self._replier(autocast), contexts, criterion)

    def _replier(self, autocast: AutocastState) -> Replier:
        return Replier(self.decoder, self.head, any(map(is_sharded, self.decoder.parameters())), autocast)

    def _bounded(self, criterion: RefusalCriterion) -> RefusalCriterion:
        """With the openings of one token alone; said once, and refused where there are none."""
        short = criterion.openings.of_one_token()
        if short == criterion.openings:
            return criterion
        if not short.sequences:
            raise PartUnavailableError(f"no refusal opening has one token, and {INSEPARABLE}")
        if not self._has_told_of_bounds:
            self._has_told_of_bounds = True
            warn(
                f"row gate: of {len(criterion.openings.sequences)} refusal openings only the "
                f"{len(short.sequences)} of one token can be looked for, because {INSEPARABLE}: requests that are "
                "refused in other words are learnt"
            )
        return replace(criterion, openings=short)

    def _prompt_free(self, request: ReferenceRequest) -> Tensor | None:
        if request.header_ids is None:
            return None
        batch = prompt_free_batch(request.responses, request.header_ids)
        # Where parameters are sharded, every rank must make as many forward passes as the others.
        sharded = any(map(is_sharded, self.decoder.parameters()))
        tokens, states = [], []
        device = request.responses.rows.device
        for indices, part in similar_lengths(batch, one_pass=sharded):
            input_ids, mask = to_device(part.input_ids, device), to_device(part.attention_mask, device)
            with request.autocast():
                hidden = self.decoder(input_ids=input_ids, attention_mask=mask, use_cache=False)[0]
            tokens.append(indices)
            states.append(hidden[to_device(part.rows, hidden.device), to_device(part.columns, hidden.device)])
        in_order = torch.cat(states)
        order = to_device(numpy.concatenate(tokens).argsort(), in_order.device)
        return self.head.logits(in_order[order], request.token_ids)


class AdapterOffReference(DecoderReference):
    """The trained model itself with its adapters switched off: no second copy of any weight."""

    name = "adapter_off"
    switches_adapter_off = True

    def __init__(self, context: ReferenceContext) -> None:
        super().__init__(context.model_parts.decoder, LiveHead(context.model_parts.causal_lm))
        if context.model_parts.peft_model is None:
            raise ConfigurationError(
                "reference.kind: adapter_off needs a PEFT adapter, but the model is trained in full; "
                "use reference.kind: frozen_copy (or auto)"
            )
        self._peft_model, self._causal_lm = context.model_parts.peft_model, context.model_parts.causal_lm
        self._pause = context.pause
        refuse_unfaithful_adapter(self._peft_model)
        if rescales_its_weights(context.model_parts):
            raise ConfigurationError(
                f"reference.kind: adapter_off cannot work with {type(context.model_parts.causal_lm).__name__}, which "
                "rescales its weights in place for evaluation; use reference.kind: auto, or frozen_copy"
            )
        if left := left_when_off(context.model_parts):
            raise ConfigurationError(
                f"reference.kind: adapter_off would hold training to a model that moves: {named(left)} train and are "
                "still there when the adapter is off; use reference.kind: auto, or frozen_copy"
            )

    @property
    def fingerprint(self) -> str | None:
        return _fingerprint(self._causal_lm)

    @contextmanager
    def _active(self) -> Iterator[None]:
        with super()._active(), self._pause(), adapters_off(self._peft_model):
            yield


class FrozenCopyReference(DecoderReference):
    """A second decoder that never changes: copied when training starts, or loaded from ``reference.path``.

    Where refusal masses alone are asked for, the model in training answers until the first step. It is copied then,
    unless all has been asked: should there be more after all, the aligned model is loaded from where it came from.
    """

    name = "frozen_copy"

    def __init__(self, context: ReferenceContext) -> None:
        trained = context.model_parts
        path = aligned_model_path(trained, context.settings, resumed=context.resumed)
        # A copied adapter is part of the reference, and of no fingerprint.
        self._source = trained.causal_lm if trained.peft_model is None else None
        self._trained, self._settings = trained, context.settings
        self._copy_is_due = path is None
        self._released: tuple[str, str] | None = None
        if path is None:
            _refuse_partitioned(trained)
            if trained.peft_model is not None:
                refuse_moved_base(trained.peft_model)
            super().__init__(trained.decoder, LiveHead(trained.causal_lm))
            if context.asks_logits:
                self.fill()
        else:
            loaded = load_aligned_model(path, trained) if context.aligned is None else context.aligned.loaded()
            check_vocabulary(loaded, path, context)
            self._take(loaded)

    def _take(self, loaded: ModelParts) -> None:
        self._source = loaded.causal_lm
        super().__init__(_frozen(loaded.decoder), LiveHead(loaded.causal_lm), self._trained.decoder)

    def fill(self) -> None:
        """Take the copy, where that is still to be done."""
        if self._copy_is_due:
            decoder = copy.deepcopy(self._trained.decoder)
            head = LiveHead(self._trained.causal_lm).frozen(_input_embedding(decoder))
            super().__init__(_frozen(decoder), head, self._trained.decoder)
            self._copy_is_due = False

    def release(self) -> None:
        try:
            path = aligned_model_path(self._trained, self._settings, resumed=True)
        except ConfigurationError:
            return
        if self._source is not None and path is not None:
            self._released = (path, model_fingerprint(self._source))
            self._source, self._copy_is_due = None, False
            del self.decoder, self.head

    def refusal_mass(
        self, contexts: Sequence[Sequence[int]], criterion: RefusalCriterion, autocast: AutocastState
    ) -> Tensor:
        self._come_back()
        return super().refusal_mass(contexts, criterion, autocast)

    def _come_back(self) -> None:
        """Load what was let go of.

        Raises:
            ConfigurationError: it cannot be loaded, or is another model by now.
        """
        if self._released is None:
            return
        path, expected = self._released
        announce(f"a request that could not be read ahead: the aligned model is loaded from {path} to be asked")
        self._take(load_aligned_model(path, self._trained))
        self._released = None
        if model_fingerprint(self._source) != expected:
            raise ConfigurationError(
                f"the model at {path} is not the one that training began with, which would have to be asked about a "
                "request that could not be read ahead; set reference.path to the aligned model"
            )

    def online(self) -> Reference | None:
        """None while there is nothing to be asked, and so nothing in memory."""
        return self if self._released is None else None

    @property
    def fingerprint(self) -> str | None:
        return None if self._source is None else _fingerprint(self._source)

    def frozen_head(self) -> OutputHead | None:
        """The copy's."""
        return None if self._copy_is_due else self.head

    def logits(self, request: ReferenceRequest) -> ReferenceLogits:
        if request.decoder_inputs.get("inputs_embeds") is not None:
            raise ConfigurationError(
                "the model feeds its decoder with inputs_embeds, which a frozen copy cannot share; use LoRA with "
                "reference.kind: adapter_off"
            )
        self._come_back()
        return super().logits(request)


def _frozen(decoder: nn.Module) -> nn.Module:
    return decoder.requires_grad_(False).eval()


def _fingerprint(causal_lm: Any) -> str | None:
    """None where ZeRO-3 has partitioned the parameters, whose values cannot be sampled."""
    partitioned = any(hasattr(parameter, "ds_id") for parameter in causal_lm.parameters())
    return None if partitioned else model_fingerprint(causal_lm)


def _input_embedding(decoder: Any) -> Tensor | None:
    embedding = decoder.get_input_embeddings() if hasattr(decoder, "get_input_embeddings") else None
    return getattr(embedding, "weight", None)


def _refuse_partitioned(model_parts: ModelParts) -> None:
    if any(map(is_sharded, model_parts.decoder.parameters())):
        raise ConfigurationError(
            "the model's parameters are sharded over the ranks, so they cannot be copied; set reference.path to "
            "the aligned model, or train an adapter"
        )


def automatic_reference(context: ReferenceContext) -> str:
    """What ``reference: auto`` means: the adapter off where that gives the aligned model back, else a frozen copy."""
    if context.settings.path is not None or context.model_parts.peft_model is None:
        return FrozenCopyReference.name
    copied = rescales_its_weights(context.model_parts) or left_when_off(context.model_parts)
    return FrozenCopyReference.name if copied else AdapterOffReference.name


def rescales_its_weights(model_parts: ModelParts) -> bool:
    """RWKV divides its weights in place on every change to evaluation, so that no graph survives a reference pass."""
    return hasattr(model_parts.decoder, "layers_are_rescaled")
