"""The segments of a run as they come about: what each began with, and what weights it left."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn
from transformers import TrainerState

from pact_plugins.distributed import summed
from pact_plugins.messages import is_main_process, warn
from pact_plugins.modeling import model_parts_of, weights_digest
from pact_plugins.run_record import TRAINER_STATE_FILE, Segment, differing_settings, earlier_segments, keep
from pact_plugins.training.weight_watch import WeightWatch

if TYPE_CHECKING:
    from pact_plugins.config import PACTConfig
    from pact_plugins.training.preparation import Preparation

# Of causal language models that a training under PACT of this process has ended with, its segments.
_ENDED: weakref.WeakKeyDictionary[nn.Module, list[Segment]] = weakref.WeakKeyDictionary()


class History:
    """Of one call of ``train()``. Every rank makes one and calls its methods; the first one's digests count.

    Args:
        model: before its first step.
        state: the trainer's, of the checkpoint that training goes on from if it does.
        preparation: of this training.
        config: that holds until the end.
        has_moved: the weights are not, or may not be, those of the aligned model.
    """

    def __init__(
        self, model: nn.Module, state: TrainerState, preparation: Preparation, config: PACTConfig, *, has_moved: bool
    ) -> None:
        self._model_parts = model_parts_of(model)
        self._settings = {**config.model_dump(mode="json"), "left_out": sorted(preparation.left_out)}
        self._first_step, self._training = state.global_step + 1, 1
        self._digest: tuple[int, str | None] | None = None
        self._saved = set[str | None]()
        self._started_from = weights_digest(self._model_parts) if has_moved else None
        self._earlier = earlier_segments(state) if state.global_step else self._of_this_process()
        if self._earlier:
            self._training = self._earlier[-1].training + (not state.global_step)
            self._saved = {segment.ended_with for segment in self._earlier}
            self._tell_of_changes(self._earlier[-1])
        self.watch = WeightWatch(self._model_parts.model)

    def _of_this_process(self) -> list[Segment]:
        ended = _ENDED.get(self._model_parts.causal_lm, [])
        return ended if ended and ended[-1].ended_with == self._started_from else []

    def _tell_of_changes(self, before: Segment) -> None:
        changed = differing_settings(before.settings, self._settings)
        if before.ended_with != self._started_from and is_main_process():
            changed.append("the weights are not those that the checkpoint was written with")
        if changed:
            warn(f"this run goes on otherwise than it began, and `pact verify` will say so: {'; '.join(changed)}")

    def has_begun(self, step: int) -> bool:
        """Whether ``step`` is one of this training's."""
        return step >= self._first_step

    @property
    def has_stepped(self) -> bool:
        """Whether an optimizer step was checked."""
        return self.watch.has_stepped

    def segments(self, step: int, preparation: Preparation) -> list[Segment]:
        """Up to ``step``, the last one that was taken."""
        if not self.has_begun(step):
            return self._earlier
        receipts, tokens = preparation.attachment.receipts, preparation.safety_tokens
        own = Segment(
            training=self._training,
            first_step=self._first_step,
            last_step=step,
            optimizer_steps=receipts.optimizer_steps,
            gradient_receipts=receipts.receipts,
            response_tokens=receipts.response_tokens,
            unchecked_moves=self.watch.unchecked_moves,
            safety_tokens=None if tokens is None else tokens.fingerprint,
            reference=None if preparation.reference is None else preparation.reference.name,
            aligned_weights=preparation.aligned_weights,
            started_from=self._started_from,
            ended_with=self._digest[1] if self._digest is not None and self._digest[0] == step else None,
            settings=self._settings,
        )
        return [*self._earlier, own]

    def before_save(self, step: int) -> None:
        """The trainer is about to write the weights of ``step``: take their digest, once."""
        if self._digest is None or self._digest[0] != step:
            self._digest = step, weights_digest(self._model_parts)
            self._saved.add(self._digest[1])

    def saved(self, folder: Path, state: TrainerState, preparation: Preparation) -> None:
        """A checkpoint was written. Where nobody had foreseen it, its state learns of the digest now."""
        if self._digest is not None and self._digest[0] == state.global_step:
            return
        self.before_save(state.global_step)
        keep(state, self.segments(state.global_step, preparation))
        file = folder / TRAINER_STATE_FILE
        if is_main_process() and file.is_file():
            new = file.with_name(f".{file.name}.new")
            state.save_to_json(str(new))
            new.replace(file)

    def end(self, step: int, preparation: Preparation) -> list[Segment]:
        """Training ends; the segments with the digest of the weights that are in memory now.

        A trainer may have loaded its best checkpoint. Anything else that differs from the last step's is counted.
        """
        # What one rank sees of its share is to hold for all.
        unmoved = not summed([float(not self.watch.is_unmoved)])[0]
        if not unmoved:
            self._digest = None
        known = set(self._saved)
        self.before_save(step)
        if not unmoved and self._digest is not None and self._digest[1] not in known and is_main_process():
            self.watch.unchecked_moves += 1
        self.watch.stepped()
        self.watch.close()
        segments = self.segments(step, preparation)
        _ENDED[self._model_parts.causal_lm] = segments
        return segments

    def digest_if_unmoved(self) -> str | None:
        """That of the weights that training ended with, as long as they are in memory."""
        return self._digest[1] if self._digest is not None and self.watch.is_unmoved else None
