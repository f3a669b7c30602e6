"""The anchor as a part of the loss: a few of the reference's own replies, to which the model is held.

They are read in the trainer's own forward pass, with the last micro-batch of an optimizer step, or, where they cannot
join it, in one of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import JsonValue
from torch import Tensor

from pact_plugins.anchor.anchors import AnchorSet
from pact_plugins.anchor.rotation import drawn_indices
from pact_plugins.anchor.settings import AnchorSettings
from pact_plugins.batch.chunked import reference_divergence
from pact_plugins.batch.host import to_device
from pact_plugins.batch.micro_batch import ComingBatch, MicroBatch, StepIndex
from pact_plugins.batch.teacher_forcing import TeacherForced, right_padded
from pact_plugins.batch.training_data import TrainingData
from pact_plugins.contracts import Answer, LossTerm, Part, PartContext
from pact_plugins.errors import ConfigurationError
from pact_plugins.modeling import checkpointed_modules, checkpointing_if_large, compiled_as_trained
from pact_plugins.prompts.own import is_behavior

ANCHORS_FILE = "pact_anchors.safetensors"


@dataclass(frozen=True)
class HeldReplies:
    """The reference's view of its own replies.

    What is kept are its last hidden states at the response positions: exact, and a hundred times smaller than
    log-probabilities over a large vocabulary. Its output embedding projects them when they are needed.

    Attributes:
        anchors: the sequences.
        states: per anchor (R_i, hidden), the reference's states that predict its reply; on the CPU.
        logits: the reference's output embedding, (P, hidden) -> (P, V), called without gradient.
        prompts: the user messages that are replied to, where they are known as text.
    """

    anchors: AnchorSet
    states: Sequence[Tensor]
    logits: Callable[[Tensor], Tensor]
    prompts: Collection[str] = ()


class Anchor(Part):
    """Divergence from the reference on anchors that rotate with the optimizer steps."""

    name, key = "anchor", "anchor.weight"

    def __init__(self, context: PartContext[AnchorSettings], replies: HeldReplies) -> None:
        settings = context.settings
        self._decoder, self._head, self._pause = context.model_parts.decoder, context.head, context.pause
        self._tokenizer, self._replies = context.tokenizer, replies
        self.anchors, self._fraction, self.coefficient = replies.anchors, settings.share, settings.weight
        self._every, self._longest = settings.every, _longest(replies.anchors)
        self._indices: list[int] = []
        self._kind_of = replies.anchors.kind_of
        self._checkpointed = checkpointed_modules(self._decoder)
        self._compiled = compiled_as_trained(self._decoder)

    def joins(self, coming: ComingBatch) -> Sequence[TeacherForced]:
        """The replies of the optimizer step that this micro-batch ends."""
        step_index = self._due(coming.step_index)
        if step_index is None:
            return ()
        self._indices = self._drawn(step_index, coming)
        return [self.anchors.sequences[index] for index in self._indices]

    def loss_term(self, batch: MicroBatch, answer: Answer) -> LossTerm:
        """The mean ``KL(reference || model)`` over the drawn anchors' reply positions.

        Once for all micro-batches of an optimizer step, however few replies each would draw. Every ``anchor.every``-th
        step, with that many times the weight: the expected gradient is the same.
        """
        step_index = self._due(batch.step_index)
        if step_index is None:
            return LossTerm(None, rests=True)
        states = batch.joined.get(self.name)
        if states is None:
            self._indices = self._drawn(step_index, batch)
            states = self._own_pass(batch)
        divergence = self._divergence(states)
        return LossTerm(divergence, self._metrics(divergence), scale=self._every, for_step=True)

    def _metrics(self, divergence: Tensor) -> dict[str, Tensor]:
        """Of all drawn replies; where there are behaviours of the user's own, also kind by kind."""
        kinds = self.anchors.kinds if any(map(is_behavior, self.anchors.kinds)) else ()
        lengths = [len(self.anchors.sequences[index].response_ids) for index in self._indices]
        each = list(zip(self._indices, divergence.detach().split(lengths), strict=True))
        none = divergence.new_zeros(0)
        # One that is not drawn is there too: ranks draw others, and reduce the same names.
        by_kind = {
            f"anchor_kl_{kind}": torch.cat([none, *(values for index, values in each if self._kind_of[index] == kind)])
            for kind in kinds
        }
        return {"anchor_kl": divergence, **by_kind}

    def _due(self, step_index: StepIndex) -> StepIndex | None:
        """The place of what is done with this micro-batch; None where the part rests."""
        step = step_index.of_step()
        return None if step is None else step.among(self._every)

    def _divergence(self, states: Tensor) -> Tensor:
        """``KL(reference || model)`` over the vocabulary at each reply position of the drawn anchors: (P,) float32.

        Args:
            states: (P, hidden) of the model in training.
        """
        reference_states = to_device(torch.cat([self._replies.states[index] for index in self._indices]), states.device)
        return reference_divergence(self._head, self._replies.logits, states, reference_states)

    def _own_pass(self, batch: MicroBatch) -> Tensor:
        """(P, hidden): the states that predict the drawn replies, from a pass over these alone.

        The decoder runs as the trainer has set it: dropout and precision are those of the batch itself, and so is
        gradient checkpointing unless the pass is small beside the batch. Where it is compiled, all passes are as long
        as the longest, so that one graph serves those of as many replies.
        """
        sequences = [self.anchors.sequences[index] for index in self._indices]
        device = next(self._decoder.parameters()).device
        length = 0 if self._compiled is None else self._longest
        input_ids, attention_mask = right_padded(sequences, device, at_least=length)
        fitting = checkpointing_if_large(self._checkpointed, input_ids.numel(), beside=batch.labels.numel())
        with self._pause(), batch.autocast(), fitting:
            decoder = self._decoder if self._compiled is None else self._compiled
            hidden = decoder(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)[0]
        return torch.cat(
            [
                hidden[row, len(sequence.context_ids) - 1 :][: len(sequence.response_ids)]
                for row, sequence in enumerate(sequences)
            ]
        )

    def _drawn(self, step_index: StepIndex, batch: ComingBatch | MicroBatch) -> list[int]:
        """The step's share of replies, in a pass no larger than the batch's own where one micro-batch draws fewer.

        Of several micro-batches the last is taken for one like the others: its labels may still be on their way.
        """
        if step_index.covers > 1:
            own = batch.earlier.responses / (step_index.covers - 1)
        else:
            own = batch.responses if isinstance(batch, ComingBatch) else batch.responses.count
        room = max(self._count(own), batch.labels.numel() // self._longest)
        count = min(self._count(own * step_index.covers), room, len(self.anchors))
        return drawn_indices(step_index, count, [*self.anchors.kinds.values()])

    def _count(self, responses: float) -> int:
        return max(1, round(self._fraction * responses))

    def held_prompts(self) -> Collection[str]:
        """Those whose replies are held."""
        return self._replies.prompts

    def summary(self) -> str:
        """How many replies of each kind, and which."""
        held = self.anchors
        counts = ", ".join(f"{count} {kind}" for kind, count in held.kinds.items())
        return f"anchored to {len(held)} replies ({counts}; {held.fingerprint})"

    def save(self, folder: Path) -> None:
        """Leave the replies, and the same as readable JSON."""
        self.anchors.save(folder / ANCHORS_FILE, tokenizer=self._tokenizer)

    def progress(self) -> JsonValue:
        """Which replies the run is held to."""
        return self.anchors.fingerprint

    def restore(self, progress: JsonValue) -> None:
        """Make sure that they are the same.

        Raises:
            ConfigurationError: they are others.
        """
        if progress != self.anchors.fingerprint:
            raise ConfigurationError(
                f"anchor: this run was anchored to other replies ({progress}) than those of now "
                f"({self.anchors.fingerprint}): {ANCHORS_FILE} was removed from its output folder, or replaced; put it "
                "back"
            )

    def record(self, data: TrainingData | None) -> Mapping[str, JsonValue]:
        """Which replies."""
        held = self.anchors
        return {"fingerprint": held.fingerprint, "replies": dict(held.kinds)}


def _longest(anchors: AnchorSet) -> int:
    """Tokens of the longest context and reply."""
    return max(len(one.context_ids) + len(one.response_ids) for one in anchors.sequences)
