"""The frozen aligned reference: its logits on the safety tokens, at the response positions only."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from pact_plugins.errors import ConfigurationError
from pact_plugins.modeling import (
    Anatomy,
    AutocastState,
    LiveHead,
    OutputHead,
    evaluation_mode,
    is_sharded,
)
from pact_plugins.training.adapters import adapters_off, refuse_unfaithful_adapter
from pact_plugins.training.aligned_checkpoint import aligned_model_path, check_vocabulary, load_aligned_model
from pact_plugins.training.prompt_free import prompt_free_batch, similar_lengths
from pact_plugins.training.responses import Responses

if TYPE_CHECKING:
    from pact_plugins.config import PACTConfig


@dataclass(frozen=True)
class ReferenceRequest:
    """What a micro-batch asks of the reference.

    Attributes:
        decoder_inputs: the keyword arguments that the trained decoder received.
        responses: the N response tokens.
        token_ids: (|S|,) or None for the whole vocabulary.
        header_ids: the assistant header of a prompt-free context, or None where no prompt-free logits are wanted.
        autocast: the precision of the trainer's forward pass.
        measured: (M,) indices into the N tokens whose probability mass on S is wanted, or None.
        opener_ids: (|R|,) the refusal openers, or None where no refusal mass is wanted.
    """

    decoder_inputs: dict[str, Any]
    responses: Responses
    token_ids: Tensor | None
    header_ids: Sequence[int] | None
    autocast: AutocastState
    measured: Tensor | None
    opener_ids: Tensor | None = None


@dataclass(frozen=True)
class ReferenceLogits:
    """The answer, without gradient.

    Attributes:
        full: (N, |S|) float32 logits in full context.
        prompt_free: (N, |S|) float32 logits given the assistant header alone, or None.
        safety_mass: (M,) float32 probability mass on S, or None.
        refusal_mass: (number of responses,) float32 probability that a response begins with a refusal opener, or None.
    """

    full: Tensor
    prompt_free: Tensor | None
    safety_mass: Tensor | None
    refusal_mass: Tensor | None = None


class Reference(Protocol):
    """A source of reference logits; its own errors are raised when it is built."""

    name: str

    def logits(self, request: ReferenceRequest) -> ReferenceLogits:
        """Answer ``request``. Called once per micro-batch, on every rank."""
        ...


@dataclass(frozen=True)
class ReferenceContext:
    """What a reference may be built from, before the first training step.

    Attributes:
        anatomy: the model to be trained, taken apart; no hook of ours is on it yet.
        config: the configuration.
        token_ids: (|S|,) or None for the whole vocabulary.
        resumed: whether training continues from a checkpoint, so that the weights have moved already.
        pause: a context manager that hides a nested forward pass of the trained decoder from our hooks.
        header_ids, opener_ids: what every request of the run will ask for; see ``ReferenceRequest``.
        precision: of the autocast that the forward pass runs under; None without one.
        train_dataloader: the trainer's, where there is one.
    """

    anatomy: Anatomy
    config: PACTConfig
    token_ids: Tensor | None
    resumed: bool
    pause: Callable[[], Any]
    header_ids: Sequence[int] | None = None
    opener_ids: Tensor | None = None
    precision: torch.dtype | None = None
    train_dataloader: Any = None


ReferenceBuilder = Callable[[ReferenceContext], Reference]


def safety_mass(head: OutputHead, hidden_states: Tensor, token_ids: Tensor | None) -> Tensor | None:
    """(M,) float32: probability that the whole vocabulary's softmax puts on some tokens; None where they are None."""
    if token_ids is None:
        return None
    logits = head.logits(hidden_states, None)
    return torch.softmax(logits, dim=-1)[:, token_ids.to(logits.device)].sum(dim=-1)


class DecoderReference:
    """Runs a decoder without gradient and projects the response positions on the safety tokens."""

    name = "decoder"

    def __init__(self, decoder: nn.Module, head: OutputHead) -> None:
        self._decoder, self.head = decoder, head

    @contextmanager
    def _active(self) -> Iterator[None]:
        with torch.no_grad(), evaluation_mode(self._decoder):
            yield

    def logits(self, request: ReferenceRequest) -> ReferenceLogits:
        # A cache would hide packed sequences from transformers' attention mask.
        inputs = {**request.decoder_inputs, "use_cache": False, "past_key_values": None}
        with self._active():
            with request.autocast():
                hidden = request.responses.select(self._decoder(**inputs)[0])
            full = self.head.logits(hidden, request.token_ids)
            mass = None
            if request.measured is not None:
                mass = safety_mass(self.head, hidden[request.measured.to(hidden.device)], request.token_ids)
            refusal_mass = None
            if request.opener_ids is not None:
                first = hidden[request.responses.first_tokens.to(hidden.device)]
                refusal_mass = safety_mass(self.head, first, request.opener_ids)
            return ReferenceLogits(full, self._prompt_free(request), mass, refusal_mass)

    def _prompt_free(self, request: ReferenceRequest) -> Tensor | None:
        if request.header_ids is None:
            return None
        batch = prompt_free_batch(request.responses, request.header_ids)
        # Where parameters are sharded, every rank must make as many forward passes as the others.
        sharded = any(map(is_sharded, self._decoder.parameters()))
        tokens, states = [], []
        for indices, part in similar_lengths(batch, one_pass=sharded):
            with request.autocast():
                hidden = self._decoder(input_ids=part.input_ids, attention_mask=part.attention_mask, use_cache=False)[0]
            tokens.append(indices)
            states.append(hidden[part.rows, part.columns])
        in_order = torch.cat(states)[torch.cat(tokens).argsort()]
        return self.head.logits(in_order, request.token_ids)


class AdapterOffReference(DecoderReference):
    """The trained model itself with its adapters switched off: no second copy of any weight."""

    name = "adapter_off"

    def __init__(self, context: ReferenceContext) -> None:
        super().__init__(context.anatomy.decoder, LiveHead(context.anatomy.causal_lm))
        if context.anatomy.peft_model is None:
            raise ConfigurationError(
                "reference: adapter_off needs a PEFT adapter, but the model is trained in full; "
                "use reference: frozen_copy (or auto)"
            )
        self._peft_model = context.anatomy.peft_model
        self._pause = context.pause
        refuse_unfaithful_adapter(self._peft_model)

    @contextmanager
    def _active(self) -> Iterator[None]:
        with super()._active(), self._pause(), adapters_off(self._peft_model):
            yield


class FrozenCopyReference(DecoderReference):
    """A second decoder that never changes: copied when training starts, or loaded from ``reference_model_path``."""

    name = "frozen_copy"

    def __init__(self, context: ReferenceContext) -> None:
        path = aligned_model_path(context.anatomy, context.config, resumed=context.resumed)
        if path is None:
            _refuse_partitioned(context.anatomy)
            decoder = copy.deepcopy(context.anatomy.decoder)
            head: OutputHead = LiveHead(context.anatomy.causal_lm).frozen(_input_embedding(decoder))
        else:
            loaded = load_aligned_model(path, context.anatomy)
            check_vocabulary(loaded, path, context)
            decoder, head = loaded.decoder, LiveHead(loaded.causal_lm)
        super().__init__(decoder.requires_grad_(False).eval(), head)

    def logits(self, request: ReferenceRequest) -> ReferenceLogits:
        if request.decoder_inputs.get("inputs_embeds") is not None:
            raise ConfigurationError(
                "the model feeds its decoder with inputs_embeds, which a frozen copy cannot share; use LoRA with "
                "reference: adapter_off"
            )
        return super().logits(request)


def _input_embedding(decoder: Any) -> Tensor | None:
    embedding = decoder.get_input_embeddings() if hasattr(decoder, "get_input_embeddings") else None
    return getattr(embedding, "weight", None)


def _refuse_partitioned(anatomy: Anatomy) -> None:
    if any(map(is_sharded, anatomy.decoder.parameters())):
        raise ConfigurationError(
            "the model's parameters are sharded over the ranks, so they cannot be copied; set reference_model_path to "
            "the aligned model, or train an adapter"
        )


def automatic_reference(context: ReferenceContext) -> str:
    """What ``reference: auto`` means: the adapter off where there is one to switch off, else a frozen copy."""
    if context.config.reference_model_path is None and context.anatomy.peft_model is not None:
        return AdapterOffReference.name
    return FrozenCopyReference.name
