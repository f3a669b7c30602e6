"""From a model and a configuration to an attachment; everything that can be wrong is found out here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from pact_plugins import plugins
from pact_plugins.anchor.building import build_anchor
from pact_plugins.anchor.prompts import anchor_prompts
from pact_plugins.batch.sequences import ContextRules
from pact_plugins.batch.training_data import TrainingData
from pact_plugins.contracts import Part, PartContext, Reference, ReferenceContext
from pact_plugins.drift_watch.measuring import RefusalMeter
from pact_plugins.drift_watch.prompts import watched_prompts
from pact_plugins.drift_watch.watch import DriftWatch, start_in
from pact_plugins.errors import ConfigurationError
from pact_plugins.messages import announce
from pact_plugins.modeling import (
    LiveHead,
    assistant_header_ids,
    dissect,
    preserved_random_state,
    preserved_sharding,
)
from pact_plugins.reference.aligned import AlignedModel
from pact_plugins.reference.choosing import build_reference
from pact_plugins.reference.watch import ReferenceWatch
from pact_plugins.row_gate.gate import RowGate
from pact_plugins.row_gate.prompts import refuse_inseparable_rows
from pact_plugins.row_gate.record import GatedRows
from pact_plugins.run_record import SAFETY_TOKENS_FILE
from pact_plugins.safety_tokens import SafetyTokens
from pact_plugins.training.attachment import Attachment
from pact_plugins.training.contributions import AskedTokens, Contributions
from pact_plugins.training.forward_pass import ForwardPass
from pact_plugins.training.probe import check_adapter_is_fresh, check_model, check_no_noise, check_tokenizer_fits
from pact_plugins.training.term import Term
from pact_plugins.training.watched_tokens import WatchedTokens, watch_tokens

if TYPE_CHECKING:
    from pact_plugins.config import PACTConfig


@dataclass(frozen=True)
class Run:
    """What the trainer says of the run that is to begin.

    Attributes:
        resumed: training continues from a checkpoint.
        precision: of the autocast that the forward pass runs under; None without one.
        train_dataloader: the trainer's, which a cached reference and ``anchor: gated`` read ahead.
        safety_tokens: given here, they override ``config.safety_tokens``.
        log_history: what earlier pieces of a resumed run have logged.
    """

    resumed: bool = False
    precision: torch.dtype | None = None
    train_dataloader: Any = None
    safety_tokens: SafetyTokens | None = None
    log_history: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Preparation:
    """What training starts with: the attachment (not attached yet) and what it was made of."""

    attachment: Attachment
    safety_tokens: SafetyTokens | None
    reference: Reference | None
    parts: Sequence[Part] = field(default_factory=tuple)
    watch: ReferenceWatch | None = None
    drift_watch: DriftWatch | None = None

    def progress(self) -> dict[str, Any]:
        """What parts and reference want to know again when a run is resumed from here. Every rank must call it."""
        named = {name: one.progress() for name, one in self._named().items()}
        return {name: value for name, value in named.items() if value is not None}

    def restore(self, progress: Mapping[str, Any]) -> None:
        """Give back what ``progress`` said in an earlier piece of the run."""
        for name, one in self._named().items():
            if name in progress:
                one.restore(progress[name])

    def record(self, data: TrainingData | None) -> dict[str, Any]:
        """What the parts and the reference say of the run. Every rank must call it."""
        recorded: dict[str, Any] = {"reference": None if self.reference is None else self.reference.name}
        for part in self.parts:
            recorded.update(part.record(data))
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


def prepare(model: nn.Module, tokenizer: Any, config: PACTConfig, run: Run = Run()) -> Preparation:
    """Check the model, find the safety tokens, build the reference and the parts of the loss.

    The random-number state and the model's sharding are left as they were.

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
    anatomy = dissect(model)
    check_tokenizer_fits(anatomy, tokenizer)
    check_no_noise(anatomy)
    forward_pass = ForwardPass(anatomy.decoder)
    half_precision = run.precision is not None
    with preserved_random_state(), preserved_sharding(anatomy.model):
        aligned = AlignedModel(anatomy, config, resumed=run.resumed)
        watched = watch_tokens(anatomy, aligned, tokenizer, config, run.safety_tokens)
        if config.gates_rows and watched.criterion is not None:
            refuse_inseparable_rows(run.train_dataloader, watched.criterion, ContextRules.of(anatomy))
        head = LiveHead(anatomy.causal_lm)
        probe_ids = check_model(anatomy, head, tokenizer, watched.token_ids, half_precision=half_precision)
        asked = _asked(watched, tokenizer, config)
        context = ReferenceContext(
            anatomy,
            config,
            asked.token_ids,
            run.resumed,
            forward_pass.paused,
            header_ids=asked.header_ids,
            refusals=asked.refusals,
            precision=run.precision,
            train_dataloader=run.train_dataloader,
        )
        reference = build_reference(context, config)
        part_context = PartContext(
            anatomy,
            head,
            tokenizer,
            config,
            {},
            reference,
            aligned,
            forward_pass.paused,
            run.precision,
            run.train_dataloader,
        )
        parts = _build_parts(part_context, watched)
        anchored = config.anchor != "off" and aligned.path is None
        # Also where a frozen copy takes its place: the copy is taken with the adapter on.
        automatic = config.reference in ("auto", "cache") and config.reference_model_path is None
        switched_off = reference is not None and (reference.switches_adapter_off or automatic)
        if anatomy.peft_model is not None and not run.resumed and (switched_off or anchored):
            check_adapter_is_fresh(anatomy, probe_ids, half_precision=half_precision)
        if reference is not None:
            reference.fill()
        watch = None
        if reference is not None and config.reference_check_every:
            watch = ReferenceWatch(context, reference, probe_ids)
        drift_watch = _watch_drift(part_context, watched, run)
    announce(_summary(parts, reference))
    attachment = Attachment(anatomy, forward_pass, Contributions(parts, reference, asked))
    return Preparation(attachment, watched.safety_tokens, reference, parts, watch, drift_watch)


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
    if not config.holds_tokens and not config.gates_rows:
        raise ConfigurationError(
            f"preset: {config.preset} with kl_coef: {config.kl_coef} and gate_training_rows: "
            f"{config.gate_training_rows} asks the reference for nothing that could be kept"
        )
    anatomy = dissect(causal_lm)
    aligned = AlignedModel(anatomy, config, resumed=False)
    asked = _asked(watch_tokens(anatomy, aligned, tokenizer, config, None), tokenizer, config)
    return ReferenceContext(
        anatomy,
        config,
        asked.token_ids,
        False,
        nullcontext,
        header_ids=asked.header_ids,
        refusals=asked.refusals,
        precision=precision,
    )


def _asked(watched: WatchedTokens, tokenizer: Any, config: PACTConfig) -> AskedTokens:
    criterion = watched.criterion if config.gates_rows else None
    return AskedTokens(watched.token_ids, _header_ids(tokenizer, config), criterion)


def _build_parts(context: PartContext, watched: WatchedTokens) -> list[Part]:
    """The parts in the order in which their values are summed.

    Raises:
        ConfigurationError: a part cannot be built, or a plugin's builder gives something else.
    """
    config: PACTConfig = context.config
    parts: list[Part] = []
    if config.holds_tokens:
        parts.append(Term(config, context.head, watched))
    if config.gates_rows and watched.criterion is not None:
        record = GatedRows(context.tokenizer, ContextRules.of(context.anatomy))
        parts.append(RowGate(config, threshold=watched.criterion.threshold, head=context.head, gated_rows=record))
    if config.anchor != "off":
        parts.append(build_anchor(context, watched.criterion))
    return [*parts, *(_of_plugin(name, context) for name in config.parts)]


def _of_plugin(name: str, context: PartContext) -> Part:
    part = plugins.parts()[name](replace(context, options=context.config.parts[name]))
    if not isinstance(part, Part):
        raise ConfigurationError(
            f"parts: what {name} builds is a {type(part).__name__}, which is no subclass of "
            "pact_plugins.contracts.Part; repair the plugin"
        )
    return part


def _watch_drift(context: PartContext, watched: WatchedTokens, run: Run) -> DriftWatch | None:
    config: PACTConfig = context.config
    if config.drift_watch is None or watched.criterion is None:
        return None
    held = anchor_prompts(config) if config.anchor != "off" else None
    prompts = watched_prompts(config.drift_watch, () if held is None else {*held.harmful, *held.harmless})
    meter = RefusalMeter(context, prompts, watched.criterion.openings, greedy=config.drift_watch.greedy)
    start = start_in(run.log_history, meter.names)
    if start is None and run.resumed:
        with context.aligned.running() as aligned:
            start = meter.measure(aligned)
    return DriftWatch(config.drift_watch, meter, context.anatomy, start or meter.measure(context.anatomy))


def _header_ids(tokenizer: Any, config: PACTConfig) -> list[int] | None:
    if not config.holds_tokens or not config.objective_spec().needs_prompt_free(config.gate):
        return None
    return assistant_header_ids(tokenizer, config.assistant_header)


def _summary(parts: Sequence[Part], reference: Reference | None) -> str:
    told = [part.summary() for part in parts]
    if reference is not None:
        told.append(f"reference {reference.name}")
    return "; ".join(filter(None, told)) or "nothing is added to the loss; refusals are watched"
