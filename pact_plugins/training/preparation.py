"""From a model and a configuration to an attachment; everything that can be wrong is found out here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from pact_plugins import plugins
from pact_plugins.batch.openings import Openings
from pact_plugins.batch.training_data import TrainingData
from pact_plugins.contracts import Part, PartContext, Reference, ReferenceContext, SafetyTokens
from pact_plugins.drift_watch.building import watch_drift
from pact_plugins.drift_watch.watch import DriftWatch
from pact_plugins.errors import ConfigurationError, PartUnavailableError
from pact_plugins.messages import announce, warn
from pact_plugins.modeling import LiveHead, model_parts_of, preserved_random_state, preserved_sharding
from pact_plugins.reference.aligned import AlignedModel
from pact_plugins.reference.choosing import build_reference
from pact_plugins.reference.masses import RefusalMasses
from pact_plugins.reference.watch import ReferenceWatch
from pact_plugins.run_record import SAFETY_TOKENS_FILE
from pact_plugins.training.asking import Asked, Interview
from pact_plugins.training.attachment import Attachment
from pact_plugins.training.finding_tokens import asked_by
from pact_plugins.training.forward_pass import ForwardPass
from pact_plugins.training.loss_terms import LossTerms
from pact_plugins.training.probe import check_adapter_is_fresh, check_model, check_no_noise, check_tokenizer_fits
from pact_plugins.training.requests import check_requests
from pact_plugins.training.rows_seen import RowsSeen, inspect_rows

if TYPE_CHECKING:
    from pact_plugins.config import PACTConfig
    from pact_plugins.settings import Block

Chosen = Mapping[str, "Block"]
"""The settings of the parts that are to be built, by their names."""


@dataclass(frozen=True)
class Run:
    """What the trainer says of the run that is to begin.

    Attributes:
        resumed: training continues from a checkpoint.
        precision: of the autocast that the forward pass runs under; None without one.
        train_dataloader: the trainer's, which a cached reference and some parts read ahead.
        safety_tokens: given here, they override ``config.safety_tokens``.
        log_history: what earlier segments of a resumed run have logged.
        own_loss: the setting by which the trainer computes a loss of its own; None where its loss is the model's.
        chat_template: that the rows were rendered by, where it is not the tokenizer's.
        resumed_in: output folder of the run that goes on from a checkpoint, None for a new one.
        aligned_weights: fingerprint of the aligned model that the first segment was held to, where there was one.
    """

    resumed: bool = False
    precision: torch.dtype | None = None
    train_dataloader: DataLoader[Any] | None = None
    safety_tokens: SafetyTokens | None = None
    log_history: Sequence[Mapping[str, Any]] = ()
    own_loss: str | None = None
    chat_template: str | None = None
    resumed_in: Path | None = None
    aligned_weights: str | None = None


@dataclass(frozen=True)
class Preparation:
    """What training starts with: the attachment (not attached yet) and what it was made of.

    Attributes:
        aligned_weights: fingerprint of the aligned model; None where it need not be loaded.
        left_out: parts that the preset would have and that cannot be had, each with the reason.
        rows: how responses and requests are found in the training rows.
    """

    attachment: Attachment
    safety_tokens: SafetyTokens | None
    reference: Reference | None
    parts: Sequence[Part] = field(default_factory=tuple)
    masses: RefusalMasses | None = None
    watch: ReferenceWatch | None = None
    drift_watch: DriftWatch | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)
    rows: RowsSeen = field(default_factory=RowsSeen)
    aligned_weights: str | None = None

    def progress(self) -> dict[str, Any]:
        """What parts and reference want to know again when a run is resumed from here. Every rank must call it."""
        named = {name: one.progress() for name, one in self._named().items()}
        return {name: value for name, value in named.items() if value is not None}

    def restore(self, progress: Mapping[str, Any]) -> None:
        """Give back what ``progress`` said in an earlier segment of the run."""
        for name, one in self._named().items():
            if name in progress:
                one.restore(progress[name])

    def record(self, data: TrainingData | None) -> dict[str, Any]:
        """What the parts and the reference say of the run. Every rank must call it."""
        recorded: dict[str, Any] = {"reference": None if self.reference is None else self.reference.name}
        recorded["left_out"] = dict(self.left_out)
        if self.masses is not None:
            self.masses.close()
        recorded["parts"] = {part.name: dict(part.record(data)) for part in self.parts}
        said = None if self.reference is None else self.reference.record()
        if self.reference is not None and said is not None:
            recorded[self.reference.name] = dict(said)
        return recorded

    def _named(self) -> dict[str, Part | Reference]:
        named: dict[str, Part | Reference] = {part.name: part for part in self.parts}
        return named if self.reference is None else {**named, f"reference {self.reference.name}": self.reference}

    def save(self, folder: Path) -> None:
        """Leave copies of the safety tokens, and of what the parts are made of, in ``folder``."""
        if self.safety_tokens is not None:
            self.safety_tokens.save(folder / SAFETY_TOKENS_FILE)
        for part in self.parts:
            part.save(folder)


# Parts that hold nothing of the model's own pass to the reference.
_ASKING_ONLY = {"row_gate", "drift_watch"}


def prepare(model: nn.Module, tokenizer: Any, config: PACTConfig, run: Run = Run()) -> Preparation:
    """Check the model, find the safety tokens, build the reference and the parts of the loss.

    A part that cannot be had is left out, with a warning, where the preset alone has set it. The random-number state
    and the model's sharding are left as they were.

    Args:
        model: what the trainer calls; the hooks are put on by the attachment's ``attach_to_*``.
        tokenizer: its tokenizer.

    Raises:
        PACTError: any of the things named in its sub-classes.
    """
    if tokenizer is None:
        raise ConfigurationError("the trainer has no tokenizer (processing_class); PACT needs it")
    # A processor holds its tokenizer; a tokenizer may hold another one, of another kind.
    if not hasattr(tokenizer, "convert_ids_to_tokens"):
        tokenizer = getattr(tokenizer, "tokenizer", tokenizer)
    seen = _Seen(tokenizer, inspect_rows(run.train_dataloader, tokenizer, run.chat_template))
    chosen, left_out = config.parts, dict[str, str]()
    while True:
        try:
            with preserved_random_state(), preserved_sharding(model):
                prepared = _prepare(model, seen, config, chosen, run)
        except PartUnavailableError as error:
            chosen, reason = _without(config, chosen, error), str(error)
            left_out[str(error.part)] = reason
        else:
            return replace(prepared, left_out=left_out)


def _without(config: PACTConfig, chosen: Chosen, error: PartUnavailableError) -> dict[str, Block]:
    """``chosen`` without the part that cannot be had.

    Raises:
        ConfigurationError: the part was asked for by name, or is the last.
    """
    part = error.part
    if part is None or part in config.model_fields_set:
        raise ConfigurationError(f"{part}: {error}" if part else str(error)) from error
    left = {name: settings for name, settings in chosen.items() if name != part}
    if not left:
        raise ConfigurationError(f"nothing of preset: {config.preset} can be had. {part}: {error}") from error
    warn(f"{part} is left out of preset: {config.preset}, as it cannot be had: {error}")
    return left


@dataclass(frozen=True)
class _Seen:
    """The tokenizer, and what was seen of the rows with it."""

    tokenizer: Any
    rows: RowsSeen


def _prepare(model: nn.Module, seen: _Seen, config: PACTConfig, chosen: Chosen, run: Run) -> Preparation:
    tokenizer, rows = seen.tokenizer, seen.rows
    model_parts = model_parts_of(model)
    check_tokenizer_fits(model_parts, tokenizer)
    forward_pass = ForwardPass(model_parts.decoder)
    half_precision = run.precision is not None
    aligned = AlignedModel(model_parts, config.reference, resumed=run.resumed, expected=run.aligned_weights)
    asked = replace(asked_by(config, chosen, aligned, tokenizer, run.safety_tokens), question=rows.question)
    head = LiveHead(model_parts.causal_lm)
    probe_ids = check_model(model_parts, head, tokenizer, asked.token_ids, half_precision=half_precision)
    # FSDP2 lets nobody call the decoder before a whole pass of the model.
    if not chosen.keys() <= _ASKING_ONLY:
        check_no_noise(model_parts)
    context = ReferenceContext(
        model_parts,
        config.reference,
        asked.token_ids,
        run.resumed,
        forward_pass.paused,
        header_ids=asked.header_ids(tokenizer, config.reference.assistant_header),
        precision=run.precision,
        train_dataloader=run.train_dataloader,
        turns=rows.turns,
        aligned=aligned,
        refusals=asked.refusals,
        asks_logits=asked.logits,
    )
    reference = build_reference(context, asked.needs) if asked.anything else None
    _check_adapter(context, reference, asked, aligned, probe_ids)
    masses, all_is_asked = None, False
    if reference is not None and context.refusals is not None:
        check_requests(context, asked)
        masses = RefusalMasses(reference, context.refusals, context)
        all_is_asked = masses.fill()
    of_run: PartContext[Block] = PartContext(
        settings=config,
        model_parts=model_parts,
        head=head,
        tokenizer=tokenizer,
        safety_tokens=asked.tokens,
        token_ids=None,
        reference=reference,
        aligned=aligned,
        pause=forward_pass.paused,
        precision=run.precision,
        train_dataloader=run.train_dataloader,
        own_loss=run.own_loss,
        batch_size=config.safety_tokens.batch_size,
        cache_path=config.reference.cache_path,
        refusals=masses,
        turns=rows.turns,
        question=rows.question,
        resumed_in=run.resumed_in,
    )
    parts = [
        _build(name, replace(of_run, settings=settings, token_ids=asked.of_part(name)))
        for name, settings in chosen.items()
    ]
    if reference is not None:
        if all_is_asked and not asked.logits:
            reference.release()
        reference.fill()
    watch = None
    if reference is not None and config.reference.check_every:
        watch = ReferenceWatch(context, reference, probe_ids)
    drift_watch = None
    if config.drift_watch and asked.tokens is not None:
        of_watch = replace(of_run, settings=config.drift_watch)
        held = {prompt for part in parts for prompt in part.held_prompts()}
        drift_watch = watch_drift(
            of_watch, Openings(asked.tokens.refusal_openings), held, log_history=run.log_history, resumed=run.resumed
        )
    announce(_summary(parts, reference))
    interview = Interview(asked, reference, context.header_ids, masses)
    attachment = Attachment(model_parts, forward_pass, LossTerms(parts, interview), rows.turns)
    prepared = Preparation(attachment, asked.tokens, reference, parts, masses, watch, drift_watch, rows=rows)
    return replace(prepared, aligned_weights=aligned.fingerprint)


def _build(name: str, context: PartContext) -> Part:
    """The part that is registered under a name, called by it.

    Raises:
        PartUnavailableError: it cannot be had.
        ConfigurationError: it cannot be built, or is no ``Part``.
    """
    try:
        part = plugins.parts()[name].build(context)
    except PartUnavailableError as error:
        raise PartUnavailableError(str(error), error.part or name) from error
    if not isinstance(part, Part):
        raise ConfigurationError(
            f"{name}: what is built is a {type(part).__name__}, which is no subclass of pact_plugins.contracts.Part; "
            "repair the plugin"
        )
    part.name = name
    if part.key == Part.key and "weight" in type(context.settings).model_fields:
        part.key = f"{name}.weight"
    return part


def _check_adapter(
    context: ReferenceContext,
    reference: Reference | None,
    asked: Asked,
    aligned: AlignedModel,
    probe_ids: torch.Tensor,
) -> None:
    """Where something is taken for the aligned model because its adapter is off, that must be the aligned model."""
    runs_aligned = any(needs.aligned_model for needs in asked.needs.values()) and aligned.path is None
    # Also where a frozen copy takes its place: the copy is taken with the adapter on.
    automatic = context.settings.kind in ("auto", "cache") and context.settings.path is None
    switched_off = reference is not None and (reference.switches_adapter_off or automatic)
    if context.model_parts.peft_model is not None and not context.resumed and (switched_off or runs_aligned):
        check_adapter_is_fresh(context.model_parts, probe_ids, half_precision=context.precision is not None)


def context_without_trainer(
    causal_lm: Any, tokenizer: Any, config: PACTConfig, precision: torch.dtype | None
) -> ReferenceContext:
    """What a run by ``config`` that starts from the aligned ``causal_lm`` would ask of its reference.

    Args:
        precision: of the autocast that the run's forward pass will be under; None without one.

    Raises:
        ConfigurationError: it would ask nothing, or cannot know what to ask.
        SafetyTokensError: the safety tokens belong to another tokenizer or vocabulary, or are damaged.
    """
    model_parts = model_parts_of(causal_lm)
    aligned = AlignedModel(model_parts, config.reference, resumed=False)
    chosen, asked = config.parts, None
    while asked is None:
        try:
            asked = asked_by(config, chosen, aligned, tokenizer, None)
        except PartUnavailableError as error:
            chosen = _without(config, chosen, error)
    if not asked.anything:
        raise ConfigurationError(f"{', '.join(chosen) or 'nothing'} asks the reference for nothing that could be kept")
    return ReferenceContext(
        model_parts,
        config.reference,
        asked.token_ids,
        False,
        nullcontext,
        header_ids=asked.header_ids(tokenizer, config.reference.assistant_header),
        refusals=asked.refusals,
        precision=precision,
        asks_logits=asked.logits,
    )


def _summary(parts: Sequence[Part], reference: Reference | None) -> str:
    told = [part.summary() for part in parts]
    if reference is not None:
        told.append(f"reference {reference.name}")
    return "; ".join(filter(None, told)) or "nothing is added to the loss; refusals are watched"
