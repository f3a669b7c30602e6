"""Filling a store: what is missing, and the reference's forward passes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy
import torch
from torch import Tensor
from tqdm import tqdm

from pact_plugins.batch.responses import find_responses
from pact_plugins.batch.sequences import TokenSequence, group_by_length, sequence_batch
from pact_plugins.contracts import Reference, ReferenceRequest
from pact_plugins.distributed import summed, world_size
from pact_plugins.messages import announce, is_main_process
from pact_plugins.modeling import AutocastState
from pact_plugins.reference.cache.entries import Entry
from pact_plugins.reference.cache.predicting import Prediction, in_time, tokens_per_second
from pact_plugins.reference.cache.store import ReferenceStore

_TOKENS_PER_BATCH = {"cpu": 4096, "cuda": 16384}
_WINDOW_TOKENS = 2**20
# Of missing sequences that are kept from counting to computing: 8 bytes each. More are read a second time.
_HELD_TOKENS = 2**24
_SHARD_BYTES = 64 * 2**20
_GROUPS_TO_CHOOSE_FROM = 1024
_IDLE = (TokenSequence(numpy.zeros(2, dtype=numpy.int32), numpy.array([-100, 0], dtype=numpy.int32)),)


@dataclass(frozen=True)
class ReferenceQuestion:
    """What is asked of the reference for each sequence; see ``ReferenceRequest``."""

    token_ids: Tensor
    header_ids: Sequence[int] | None
    autocast: AutocastState

    def ask(self, reference: Reference, sequences: Sequence[TokenSequence], indices: Sequence[int]) -> list[Entry]:
        """The entries of the sequences at ``indices``, in one forward pass."""
        batch = sequence_batch(sequences, indices, self.token_ids.device)
        responses = find_responses(batch.labels)
        request = ReferenceRequest(
            {"input_ids": batch.input_ids},
            responses,
            self.token_ids,
            self.header_ids,
            self.autocast,
            measured=None,
        )
        answer = reference.logits(request)
        asked = [sequences[index] for index in indices]
        counts = [sequence.response_tokens for sequence in asked]
        full = answer.full.cpu().split(counts)
        prompt_free = None if answer.prompt_free is None else answer.prompt_free.cpu().split(counts)
        return [
            Entry(sequence.key, full[row], None if prompt_free is None else prompt_free[row])
            for row, sequence in enumerate(asked)
        ]


@dataclass(frozen=True)
class BuildPlan:
    """What one rank has to compute.

    Attributes:
        sources: the missing sequences as they were read, or, where they are too many to be held, where to read all
            of them again, in order; those that the store holds already then come along.
        wanted: the keys that are missing, each on one of the sources at least.
        tokens, response_tokens: of the missing sequences.
        total: number of distinct sequences, those that are there already included.
    """

    sources: Callable[[], Iterable[TokenSequence]]
    wanted: frozenset[bytes]
    tokens: int
    response_tokens: int
    total: int

    @classmethod
    def of(cls, sources: Callable[[], Iterable[TokenSequence]], store: ReferenceStore) -> BuildPlan:
        """Read all sequences once, count them, and hold the missing ones while there is room."""
        wanted: set[bytes] = set()
        there: set[tuple[int, int]] = set()
        held: list[TokenSequence] = []
        tokens = response_tokens = 0
        sequences = iter(sources())
        while chunk := list(islice(sequences, 1024)):
            places = store.locate([sequence.key for sequence in chunk])
            for sequence, place in zip(chunk, places, strict=True):
                if place is not None:
                    there.add(place)
                elif sequence.key not in wanted:
                    wanted.add(sequence.key)
                    tokens += len(sequence)
                    response_tokens += sequence.response_tokens
                    if tokens <= _HELD_TOKENS:
                        held.append(sequence)
        if tokens <= _HELD_TOKENS:
            return cls(lambda: held, frozenset(wanted), tokens, response_tokens, len(wanted) + len(there))
        total = len(wanted) + len(there)
        return cls(sources, frozenset(wanted), tokens, response_tokens, total)


def build(
    plan: BuildPlan, store: ReferenceStore, reference: Reference, question: ReferenceQuestion, *, in_step: bool = False
) -> None:
    """Compute and write what is missing. Every rank must call it, inside ``store.building()``.

    Args:
        in_step: the reference's parameters are sharded, so that each forward pass takes all ranks.

    Raises:
        ConfigurationError: the disk has not enough space.
    """
    missing, tokens, responses, total = (
        int(value) for value in summed([len(plan.wanted), plan.tokens, plan.response_tokens, plan.total])
    )
    if not missing:
        return
    prediction = Prediction.of_size(total, missing, responses, store.record_bytes)
    prediction.check_space(store.folder)
    announce(f"reference cache: {prediction}")
    started = time.perf_counter()
    _Builder(plan, store, reference, question, all_tokens=tokens, in_step=in_step).run()
    announce(f"reference cache: filled in {in_time(time.perf_counter() - started)}, {store.folder}")


def predict(plan: BuildPlan, store: ReferenceStore, reference: Reference, question: ReferenceQuestion) -> Prediction:
    """What ``build`` would take in this process alone. A few batches are computed, and nothing is kept."""
    size = Prediction.of_size(plan.total, len(plan.wanted), plan.response_tokens, store.record_bytes)
    groups = list(islice(_groups(plan, question.token_ids.device), _GROUPS_TO_CHOOSE_FROM))
    if not groups:
        return replace(size, seconds=0.0)

    def compute(group: tuple[Sequence[TokenSequence], list[int]]) -> int:
        sequences, indices = group
        question.ask(reference, sequences, indices)
        return sum(len(sequences[index]) for index in indices)

    return replace(size, seconds=plan.tokens / tokens_per_second(groups, compute))


def _groups(plan: BuildPlan, device: torch.device) -> Iterator[tuple[Sequence[TokenSequence], list[int]]]:
    """What is missing in groups of similar length, from windows small enough to be held in memory."""
    budget = _TOKENS_PER_BATCH.get(device.type, _TOKENS_PER_BATCH["cuda"])
    for window in _windows(plan):
        for group in group_by_length([len(sequence) for sequence in window], max_tokens=budget):
            yield window, group


def _windows(plan: BuildPlan) -> Iterator[list[TokenSequence]]:
    left = set(plan.wanted)
    window: list[TokenSequence] = []
    tokens = 0
    for sequence in plan.sources() if left else ():
        if sequence.key in left:
            left.discard(sequence.key)
            window.append(sequence)
            tokens += len(sequence)
            if tokens >= _WINDOW_TOKENS:
                yield window
                window, tokens = [], 0
            if not left:
                break
    yield window


class _Builder:
    def __init__(
        self,
        plan: BuildPlan,
        store: ReferenceStore,
        reference: Reference,
        question: ReferenceQuestion,
        *,
        all_tokens: int,
        in_step: bool,
    ) -> None:
        self._plan, self._store, self._reference, self._question = plan, store, reference, question
        self._all_tokens, self._in_step = all_tokens, in_step
        self._entries: list[Entry] = []
        self._bytes = 0

    def run(self) -> None:
        bar = tqdm(
            total=self._plan.tokens,
            desc="reference cache",
            unit="tok",
            unit_scale=True,
            disable=not is_main_process() or not self._plan.tokens,
        )
        batches = 0
        with bar:
            for sequences, indices in self._together(_groups(self._plan, self._question.token_ids.device)):
                began = time.perf_counter()
                entries = self._question.ask(self._reference, sequences, indices)
                if sequences is not _IDLE:
                    done = sum(len(sequences[index]) for index in indices)
                    batches += 1
                    # The first takes longer than any other: kernels are chosen, memory is taken.
                    if batches == 2:
                        self._predict(time.perf_counter() - began, int(bar.n) + done, done)
                    self._keep(entries)
                    bar.update(done)
        self._flush()

    def _predict(self, seconds: float, finished: int, of_batch: int) -> None:
        rest = self._all_tokens / world_size() - finished
        if rest > 0:
            announce(f"reference cache: about {in_time(seconds / of_batch * rest)} left at the speed of this batch")

    def _together(self, groups: Iterator[Any]) -> Iterator[tuple[Sequence[TokenSequence], list[int]]]:
        """The groups; where forward passes take all ranks, those that have finished keep the others company."""
        if not self._in_step:
            yield from groups
            return
        while True:
            group = next(groups, None)
            if not summed([float(group is not None)])[0]:
                return
            yield (_IDLE, [0]) if group is None else group

    def _keep(self, entries: list[Entry]) -> None:
        self._entries += entries
        self._bytes += sum(len(entry.full) for entry in entries) * self._store.record_bytes
        if self._bytes >= _SHARD_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._entries:
            self._store.write(self._entries)
        self._entries, self._bytes = [], 0
