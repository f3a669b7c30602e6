"""The trainer's training set, read before the first step without a trace: neither its sampler nor its random state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pact_plugins.batch.responses import response_labels
from pact_plugins.batch.sequences import ContextRules, TokenSequence, split_sequences
from pact_plugins.conversation.turns import AssistantTurns
from pact_plugins.distributed import rank, world_size
from pact_plugins.modeling import preserved_random_state

_ROWS_AT_A_TIME = 64


@dataclass(frozen=True)
class TrainingRow:
    """One row of the training set.

    Attributes:
        index: its place in the data set that the trainer's sampler draws from.
        inputs: what the trainer's collator makes of this row alone: ``input_ids`` (1, L), ``labels`` and more.
        labels: (1, L) of its responses alone; None where it has none at all.
        sequences: those of its sequences that hold response tokens (a packed row has several), their labels those of
            the responses; None where they cannot be taken out of the row, see ``split_sequences``.
    """

    index: int
    inputs: dict[str, Any]
    labels: Tensor | None
    sequences: list[TokenSequence] | None


@dataclass(frozen=True)
class TrainingData:
    """A data set of known length and the collator that goes with it.

    Rows are collated one at a time: that is right for collators that pad, that flatten (TRL ``padding_free``), and that
    pack what a batch sampler gives them (Axolotl ``sample_packing``) alike, and no row is mistaken for another.

    Attributes:
        turns: how responses are told from prompts where both are labelled; see ``MicroBatch``.
    """

    dataset: Any
    collate: Any
    turns: AssistantTurns | None = None

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def share(self) -> range:
        """The rows of this rank: every n-th of n ranks, so that they divide the set among them."""
        return range(rank(), len(self), world_size())

    def rows(self, rules: ContextRules, indices: Sequence[int] | None = None) -> Iterator[TrainingRow]:
        """The rows at ``indices``, by default those of ``share``, in order.

        Args:
            rules: what the trained model's tokens can see.
        """
        indices = self.share if indices is None else indices
        for first in range(0, len(indices), _ROWS_AT_A_TIME):
            # A row may be augmented at random; the trainer's own draws must not move.
            with preserved_random_state():
                read = [self._row(index, rules) for index in indices[first : first + _ROWS_AT_A_TIME]]
            yield from read

    def inputs(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """What the collator makes of each of the rows at ``indices`` alone."""
        with preserved_random_state():
            return [self._inputs(index) for index in indices]

    def _inputs(self, index: int) -> dict[str, Any]:
        return dict(self.collate([self.dataset[index]]))

    def _row(self, index: int, rules: ContextRules) -> TrainingRow:
        inputs = self._inputs(index)
        labels = inputs.get("labels")
        if labels is None:
            return TrainingRow(index, inputs, None, None)
        labels = response_labels(labels, inputs, self.turns)
        return TrainingRow(index, inputs, labels, split_sequences(inputs, labels, rules))


def training_data(train_dataloader: Any, turns: AssistantTurns | None = None) -> tuple[TrainingData | None, str]:
    """What ``on_train_begin`` receives as ``train_dataloader``, as data that can be read ahead; else None and why."""
    if train_dataloader is None:
        return None, "the trainer did not pass its training data"
    dataset = getattr(train_dataloader, "dataset", None)
    collate = getattr(train_dataloader, "collate_fn", None)
    if dataset is None or collate is None:
        return None, f"{type(train_dataloader).__name__} has no data set or no collator"
    if isinstance(dataset, torch.utils.data.IterableDataset) or not hasattr(dataset, "__len__"):
        return None, f"the data set is streamed ({type(dataset).__name__}), so it cannot be read ahead"
    return TrainingData(dataset, collate, turns), ""
