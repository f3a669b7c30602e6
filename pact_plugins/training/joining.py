"""Which sequences of the parts join the trainer's own forward pass, and whose states are whose afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from pact_plugins.batch.joined import Seats, seats
from pact_plugins.batch.micro_batch import ComingBatch
from pact_plugins.batch.responses import sequence_starts
from pact_plugins.batch.sequences import ContextRules
from pact_plugins.batch.teacher_forcing import TeacherForced
from pact_plugins.contracts import Part
from pact_plugins.distributed import everyone
from pact_plugins.errors import AttachmentError
from pact_plugins.messages import announce
from pact_plugins.modeling import ModelParts, is_sharded
from pact_plugins.modeling.compiled import is_compiled_run
from pact_plugins.modeling.rotary import length_without_rescaling

# What a forward and backward pass of its own costs, in tokens that could be read in its time: a device waits for its
# kernels to be launched, shards are gathered once more.
_PASS_IN_TOKENS = {"cpu": 64}
_PASS_ON_A_DEVICE, _PASS_OVER_SHARDS = 512, 4096


class Joining:
    """Asks the parts before each forward pass; whether they join at all is decided once, by counting tokens.

    Args:
        parts: of the run.
        model_parts: of the model in training.
    """

    def __init__(self, parts: Sequence[Part], model_parts: ModelParts) -> None:
        self._parts, self._causal_lm = parts, model_parts.causal_lm
        self._text_config = model_parts.causal_lm.config.get_text_config()
        self._positions_separate = ContextRules.of(model_parts).positions_separate
        self._longest = length_without_rescaling(model_parts.causal_lm.config)
        self._is_sharded = any(map(is_sharded, model_parts.model.parameters()))
        # Further rows, of another length each time, would be compiled anew.
        self._decided: bool | None = False if is_compiled_run() else None
        self._counts: dict[str, int] = {}

    def seats(self, coming: ComingBatch) -> Seats | None:
        """Where what the parts let join goes; None for nothing. Every rank must call it."""
        self._counts = {}
        if self._decided is False:
            return None
        wanted = {part.name: list(part.joins(coming)) for part in self._parts}
        sequences = [one for joining in wanted.values() for one in joining]
        if not sequences:
            return None
        found = self._found(coming.inputs, sequences)
        if self._decided is None:
            self._decide(found, sequences, coming.labels.device.type, [name for name in wanted if wanted[name]])
        if found is None or not self._decided:
            return None
        self._counts = {
            name: sum(len(one.response_ids) for one in joining) for name, joining in wanted.items() if joining
        }
        return found

    def _found(self, inputs: Mapping[str, Any], sequences: Sequence[TeacherForced]) -> Seats | None:
        # A router's loss is over all tokens of the pass.
        if getattr(self._text_config, "output_router_logits", False):
            return None
        found = seats(inputs, sequences, may_pack=self._may_pack(inputs))
        # A longer batch would be rotated in another way.
        if found is not None and self._longest is not None and (found.is_flat or found.whole[1] > self._longest):
            return None
        return found

    def _may_pack(self, inputs: Mapping[str, Any]) -> bool:
        """Sequences are told apart by their positions neither beside a cache nor where a state is carried along."""
        return not self._fills_a_cache(inputs) and not getattr(self._causal_lm, "_is_stateful", False)

    def _fills_a_cache(self, inputs: Mapping[str, Any]) -> bool:
        cached = inputs.get("use_cache")
        return bool(getattr(self._text_config, "use_cache", True) if cached is None else cached)

    def refuse_mixed_rows(self, inputs: Mapping[str, Any]) -> None:
        """Make sure that sequences which positions alone tell apart do not see one another.

        Raises:
            AttachmentError: a cache hides them from transformers' attention mask in training, not in the reference.
        """
        position_ids = inputs.get("position_ids")
        if position_ids is None or inputs.get("attention_mask") is not None or self._positions_separate:
            return
        if self._fills_a_cache(inputs) and sequence_starts(inputs, tuple(position_ids.shape))[:, 1:].any():
            raise AttachmentError(
                "use_cache: true hides from the attention mask that rows stand one after the other, so that they see "
                "one another in training and not in the reference; set use_cache: false in the trainer's arguments, "
                "or in the model's configuration"
            )

    def _decide(
        self, found: Seats | None, sequences: Sequence[TeacherForced], device: str, names: Sequence[str]
    ) -> None:
        lengths = [len(one.context_ids) + len(one.response_ids) - 1 for one in sequences]
        of_a_pass = len(lengths) * max(lengths)
        worth = _PASS_OVER_SHARDS if self._is_sharded else _PASS_IN_TOKENS.get(device, _PASS_ON_A_DEVICE)
        self._decided = everyone(found is not None and found.tokens <= of_a_pass + worth)
        who = " and ".join(names)
        if self._decided and found is not None:
            announce(f"{who}: {len(lengths)} replies join the trainer's own forward pass, {found.tokens} tokens more")
        elif found is None:
            announce(f"{who}: a forward pass of its own, as the layout of the batch takes no further sequences")
        else:
            announce(
                f"{who}: a forward pass of its own over {of_a_pass} tokens; beside the trainer's rows its replies "
                f"would take {found.tokens}"
            )

    def of_parts(self, states: Tensor | None) -> Mapping[str, Tensor]:
        """(P, hidden) of all that joined, by the name of the part."""
        if states is None:
            return {}
        return dict(zip(self._counts, states.split(list(self._counts.values())), strict=True))
