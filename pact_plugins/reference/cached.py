"""``reference: cache``: the reference's logits from disk, and from the reference itself where the disk has none."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import JsonValue
from torch import Tensor

from pact_plugins.batch.host import to_device
from pact_plugins.batch.openings import RefusalCriterion
from pact_plugins.batch.sequences import ContextRules, TokenSequence, group_by_length, sequences_of
from pact_plugins.batch.training_data import training_data
from pact_plugins.contracts.reference import (
    Capabilities,
    Reference,
    ReferenceContext,
    ReferenceLogits,
    ReferenceRequest,
)
from pact_plugins.distributed import gathered_text, rank, summed
from pact_plugins.errors import ConfigurationError
from pact_plugins.files import cache_folder
from pact_plugins.messages import announce
from pact_plugins.modeling import AutocastState, LiveHead, is_sharded, model_fingerprint
from pact_plugins.modeling.rotary import length_without_rescaling, longest_position
from pact_plugins.reference.aligned_checkpoint import aligned_model_path, check_vocabulary, load_aligned_model
from pact_plugins.reference.cache.building import BuildPlan, ReferenceQuestion, build, predict
from pact_plugins.reference.cache.description import LOGITS, StoreDescription, hash_of_ids
from pact_plugins.reference.cache.entries import Entry
from pact_plugins.reference.cache.predicting import Prediction
from pact_plugins.reference.cache.sampling import check_sample
from pact_plugins.reference.cache.store import ReferenceStore
from pact_plugins.reference.online import AdapterOffReference, DecoderReference, automatic_reference

_TOKENS_PER_MISS = 4096
_Values = tuple[Tensor, Tensor | None]


class CachedReference(Reference):
    """Looks sequences up by their content; what the cache has not seen goes to the run's online reference.

    ``fill`` computes what is missing of the training set before the first step. With an adapter the online reference is
    the model with its adapter off. Trained in full, the model itself is the reference until training moves it, and
    nothing is copied; an unseen sequence then makes the aligned model be loaded from its path.

    Where the cache's folder cannot be written, what it lacks is kept in a temporary one.

    Args:
        must_keep: what is computed is for later runs, so that a folder which cannot be written is an error.

    Raises:
        ConfigurationError: the objective needs the whole vocabulary, ZeRO-3 has partitioned the parameters, or the
            cache's folder cannot be written and what is computed must be kept.
    """

    name = "cache"
    capabilities = Capabilities(prompt_free=True, refusal_mass=True)

    def __init__(self, context: ReferenceContext, *, must_keep: bool = False) -> None:
        if context.token_ids is None:
            raise ConfigurationError(
                "reference.kind: cache keeps the logits of a few tokens, but the whole vocabulary's are asked for; use "
                "reference.kind: auto"
            )
        if any(hasattr(parameter, "ds_id") for parameter in context.model_parts.model.parameters()):
            # Their values cannot be sampled, and another model's logits must never be taken for this one's.
            raise ConfigurationError(
                "reference.kind: cache cannot tell models apart whose parameters DeepSpeed ZeRO-3 has partitioned; use "
                "reference.kind: auto, or ZeRO-2"
            )
        self._context, self._token_ids = context, context.token_ids
        self._rules = ContextRules.of(context.model_parts)
        self._longest = length_without_rescaling(context.model_parts.causal_lm.config)
        self._in_step = any(is_sharded(parameter) for parameter in context.model_parts.model.parameters())
        self._online: Reference | None = None
        self.switches_adapter_off = automatic_reference(context) == AdapterOffReference.name
        if self.switches_adapter_off:
            self._online = AdapterOffReference(context)
            fingerprint = model_fingerprint(context.model_parts.causal_lm)
            self._at_start: Reference | None = self._online
        else:
            self._at_start, fingerprint = self._aligned(context.resumed)
        folder, spare = cache_folder(context.settings.cache_path) / LOGITS, None if must_keep else self._spare()
        self.store = ReferenceStore(folder, self._describe(fingerprint), spare=spare)
        self.hits = self.misses = self._logged_misses = 0
        self._earlier = {"hits": 0, "misses": 0}

    def _spare(self) -> Path:
        """A temporary folder, the same on every rank, that goes when this reference does."""
        made = tempfile.mkdtemp(prefix="pact-reference-") if rank() == 0 else ""
        if made:
            weakref.finalize(self, shutil.rmtree, made, ignore_errors=True)
        return Path(gathered_text(made)[0])

    def _describe(self, fingerprint: str) -> StoreDescription:
        context = self._context
        return StoreDescription(
            reference_model=fingerprint,
            dtype=str(context.model_parts.causal_lm.dtype).removeprefix("torch."),
            autocast=None if context.precision is None else str(context.precision).removeprefix("torch."),
            safety_tokens=hash_of_ids(self._token_ids.tolist()),
            token_count=self._token_ids.numel(),
            header=None if context.header_ids is None else hash_of_ids(context.header_ids),
        )

    def _aligned(self, moved: bool) -> tuple[Reference, str]:
        """The aligned model of a run in full and its fingerprint: the trained model itself, or loaded."""
        model_parts, settings = self._context.model_parts, self._context.settings
        path = aligned_model_path(model_parts, settings, resumed=moved)
        if path is not None:
            shared = self._context.aligned
            is_same = shared is not None and shared.path == path
            model_parts = shared.loaded() if shared is not None and is_same else load_aligned_model(path, model_parts)
            check_vocabulary(model_parts, path, self._context)
        decoder, trained = model_parts.decoder, None
        if path is not None:
            decoder, trained = decoder.requires_grad_(False), self._context.model_parts.decoder
        reference = DecoderReference(decoder, LiveHead(model_parts.causal_lm), trained)
        return reference, model_fingerprint(model_parts.causal_lm)

    def fill(self) -> None:
        """Compute what the cache lacks of the training set. Every rank must call it, before the first step."""
        if not self._context.asks_logits:
            self._at_start = None
            return
        data, reason = training_data(self._context.train_dataloader, self._context.turns)
        if data is None:
            announce(f"reference cache: nothing is computed ahead: {reason}")
        else:
            unseparable: set[int] = set()

            def sequences() -> Iterator[TokenSequence]:
                for row in data.rows(self._rules):
                    if row.sequences is None:
                        unseparable.add(row.index)
                    yield from row.sequences or ()

            self.fill_with(sequences)
            if count := int(summed([len(unseparable)])[0]):
                announce(
                    f"reference cache: {count} of {len(data)} rows cannot be cached: their sequences see each other "
                    "under packing, or hold more than text"
                )
        # Trained in full, these weights are about to move; loaded ones are in the way.
        self._at_start = None

    def fill_with(self, sequences: Callable[[], Iterable[TokenSequence]]) -> None:
        """Compute what the cache lacks of ``sequences``, this rank's share; too many to be held are read twice."""
        assert self._at_start is not None, "training has begun"
        question, longer = self._build_question(), set[bytes]()

        def kept() -> Iterator[TokenSequence]:
            for sequence in sequences():
                if self._longest is None or len(sequence) <= self._longest:
                    yield sequence
                else:
                    longer.add(sequence.key)

        with self.store.building():
            self.store.refresh()
            if len(self.store) and not self._in_step:
                check_sample(kept, self.store, self._at_start, question)
            plan = BuildPlan.of(kept, self.store)
            build(plan, self.store, self._at_start, question, in_step=self._in_step)
        self.store.refresh()
        if count := int(summed([len(longer)])[0]):
            announce(
                f"reference cache: {count} sequences are longer than {self._longest} tokens, from where on the model's "
                "rotary embeddings depend on the longest row of a batch: the reference is asked with each batch"
            )

    def predict(self, sequences: Sequence[TokenSequence]) -> Prediction:
        """What ``fill_with`` would take, from a few batches that are not kept."""
        assert self._at_start is not None, "training has begun"
        plan = BuildPlan.of(lambda: sequences, self.store)
        return predict(plan, self.store, self._at_start, self._build_question())

    def _build_question(self) -> ReferenceQuestion:
        autocast = self._build_autocast()
        return ReferenceQuestion(self._token_ids, self._context.header_ids, autocast)

    def _build_autocast(self) -> AutocastState:
        precision = self._context.precision
        return AutocastState(self._token_ids.device.type, precision is not None, precision or torch.bfloat16)

    def logits(self, request: ReferenceRequest) -> ReferenceLogits:
        # What was computed row by row is not what rows of other lengths beside it make of a longer batch.
        rescaled = self._longest is not None and longest_position(request.decoder_inputs) > self._longest
        sequences = None if rescaled else sequences_of(request.decoder_inputs, request.responses, self._rules)
        places = None if sequences is None else self._places(sequences, request)
        missing = [] if places is None else [index for index, place in enumerate(places) if place is None]
        lacking = len(missing) if sequences is not None else max(request.responses.count, 1)
        self.misses += lacking
        self.hits += 0 if places is None else len(places) - len(missing)
        if self._in_step and not summed([float(lacking)])[0]:
            lacking = 0
        elif self._in_step:
            return self._reference_now().logits(request)
        if sequences is None or places is None or not sequences:
            return self._reference_now().logits(request) if lacking else self._nothing(request)
        if not missing:
            return self._answer(self.store.read([place for place in places if place is not None]), request)
        return self._mixed(sequences, places, missing, request)

    def _places(self, sequences: list[TokenSequence], request: ReferenceRequest) -> list[tuple[int, int] | None]:
        if request.header_ids is not None and self.store.description.header is None:
            return [None] * len(sequences)
        return self.store.locate([sequence.key for sequence in sequences])

    def _nothing(self, request: ReferenceRequest) -> ReferenceLogits:
        empty = torch.zeros(0, self._token_ids.numel())
        return ReferenceLogits(empty, None if request.header_ids is None else empty, None)

    def _answer(self, values: _Values, request: ReferenceRequest) -> ReferenceLogits:
        device = request.responses.rows.device
        full, prompt_free = values
        without_prompt = None if prompt_free is None else to_device(prompt_free, device)
        return ReferenceLogits(to_device(full, device), without_prompt, None)

    def _mixed(
        self,
        sequences: list[TokenSequence],
        places: list[tuple[int, int] | None],
        missing: list[int],
        request: ReferenceRequest,
    ) -> ReferenceLogits:
        question = ReferenceQuestion(self._token_ids, request.header_ids, request.autocast)
        reference = self._reference_now()
        fresh: dict[int, Entry] = {}
        groups = group_by_length([len(sequences[index]) for index in missing], max_tokens=_TOKENS_PER_MISS)
        for group in groups:
            indices = [missing[index] for index in group]
            fresh.update(zip(indices, question.ask(reference, sequences, indices), strict=True))
        parts = [
            fresh[index] if place is None else Entry(sequences[index].key, *self.store.read([place]))
            for index, place in enumerate(places)
        ]
        prompt_free = [part.prompt_free for part in parts if part.prompt_free is not None]
        full = torch.cat([part.full for part in parts])
        return self._answer((full, torch.cat(prompt_free) if prompt_free else None), request)

    def _reference_now(self) -> Reference:
        """The online reference; trained in full, the aligned model is loaded when it is first needed."""
        if self._online is None:
            announce("reference cache: a sequence is not in it, so the aligned model is loaded beside the trained one")
            way_out = (
                "put these rows into the cache (`pact cache build`), set reference.path to the aligned model, or "
                "use reference.kind: frozen_copy"
            )
            try:
                self._online, fingerprint = self._aligned(moved=True)
            except ConfigurationError as error:
                raise ConfigurationError(
                    "reference.kind: cache met a sequence that the cache lacks, and the aligned model cannot be "
                    f"asked: {error}. Either {way_out}"
                ) from error
            if fingerprint != self.store.description.reference_model:
                raise ConfigurationError(
                    "reference.kind: cache met a sequence that the cache lacks, and the model at the trained model's "
                    f"own path is not the one that training began with; {way_out}"
                )
        return self._online

    def refusal_mass(
        self, contexts: Sequence[Sequence[int]], criterion: RefusalCriterion, autocast: AutocastState
    ) -> Tensor:
        return (self._at_start or self._reference_now()).refusal_mass(contexts, criterion, autocast)

    @property
    def fingerprint(self) -> str:
        return self.store.description.reference_model

    @property
    def weights_dtype(self) -> torch.dtype:
        return self._context.model_parts.causal_lm.dtype

    def online(self) -> Reference | None:
        """The adapter switched off; trained in full, nothing is there to be asked."""
        return self._online

    def metrics(self) -> dict[str, float]:
        """Sequences that were not in the cache since the last call, over all ranks."""
        new = self.misses - self._logged_misses
        self._logged_misses = self.misses
        return {"cache_misses": summed([new])[0]}

    def progress(self) -> dict[str, JsonValue]:
        """Hits and misses so far, over all ranks and segments."""
        hits, misses = (int(value) for value in summed([self.hits, self.misses]))
        return {"hits": self._earlier["hits"] + hits, "misses": self._earlier["misses"] + misses}

    def restore(self, progress: Any) -> None:
        """Go on counting."""
        self._earlier = {key: int(progress.get(key, 0)) for key in self._earlier}

    def record(self) -> dict[str, Any]:
        """Folder, number of sequences, hits and misses."""
        return {"folder": str(self.store.folder), "sequences": len(self.store), **self.progress()}
