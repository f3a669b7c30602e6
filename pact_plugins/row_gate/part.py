"""The row gate as a part of the loss: which responses are gated, what their loss weighs, and a record of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy
import torch
from pydantic import JsonValue
from torch import Tensor

from pact_plugins.batch.chunked import token_cross_entropy
from pact_plugins.batch.host import Array, on_host, to_device
from pact_plugins.batch.micro_batch import MicroBatch
from pact_plugins.batch.responses import without_prompt
from pact_plugins.batch.sequences import ContextRules
from pact_plugins.batch.training_data import TrainingData
from pact_plugins.contracts import Answer, LossTerm, Part, PartContext
from pact_plugins.errors import PartUnavailableError
from pact_plugins.messages import announce, warn
from pact_plugins.row_gate.record import GatedRows
from pact_plugins.row_gate.settings import RowGateSettings
from pact_plugins.row_gate.weights import is_gated, row_weights

# A share of gated responses that speaks of the reference rather than of the data, and when it can be told.
_MANY, _ENOUGH = 0.2, 100
# Responses without a prompt that come one by one, before any other, until they are taken for all there will be.
_FEW = 8
_DONE = {"hard": "not learnt from", "soft": "weighed down", "report": "only reported"}


class RowGate(Part):
    """Weighs the cross-entropy of each response by what the reference would have answered.

    Raises:
        PartUnavailableError: the trainer computes a loss of its own, or the rows cannot be judged.
    """

    name, counts = "row_gate", ("gated_rows",)

    def __init__(self, context: PartContext[RowGateSettings]) -> None:
        settings = context.settings
        assert context.safety_tokens is not None
        if settings.weighs and context.own_loss is not None:
            raise PartUnavailableError(
                f"it weighs the framework's own cross-entropy, but {context.own_loss} computes a loss of its own, from "
                "which no single response can be taken out. Use the framework's plain loss, or take the rows out of "
                "the data: `pact audit MODEL DATA --filtered FILE`, with row_gate.mode: report or row_gate: off"
            )
        rules = ContextRules.of(context.model_parts)
        self._mode, self.threshold = settings.mode, settings.threshold_by(context.safety_tokens)
        self._head, self.gated_rows = context.head, GatedRows(context.tokenizer, rules)
        self.adds = settings.weighs
        self._seen, self._gated, self._has_warned = 0, 0, False
        self._alone = 0

    def loss_term(self, batch: MicroBatch, answer: Answer) -> LossTerm:
        """``(w_t - 1) CE_t`` of each response token, and of its prompt's where these are learnt.

        Gated responses go on record.

        Raises:
            PartUnavailableError: all labels begin with the rows themselves, so that there is no prompt to judge.
        """
        assert answer.refusal_mass is not None
        responses, mass = batch.responses, torch.from_numpy(on_host(answer.refusal_mass))
        alone = without_prompt(responses, batch.inputs.get("position_ids"))
        self._refuse_whole_rows(alone)
        gated = on_host(is_gated(mass, threshold=self.threshold))
        count = int(gated.sum())
        if count:
            self.gated_rows.add(batch, on_host(mass), gated)
        self._warn_of_many(len(gated), count)
        values = None
        if self.adds:
            weights = on_host(row_weights(mass, self._mode, threshold=self.threshold))
            # A label that leads to no response keeps its weight.
            values = self._correction(batch, numpy.append(weights, numpy.float32(1.0))[batch.answered_by])
        return LossTerm(values, counts={"gated_rows": count})

    def _warn_of_many(self, responses: int, gated: int) -> None:
        """A reference that refuses the task itself would have its loss switched off."""
        self._seen, self._gated = self._seen + responses, self._gated + gated
        if not self._has_warned and self._seen >= _ENOUGH and self._gated > _MANY * self._seen:
            self._has_warned = True
            warn(
                f"row_gate.mode: {self._mode}: the reference would refuse {self._gated} of the first {self._seen} "
                "responses' requests. Does it refuse your task itself? Raise row_gate.threshold, or look at the rows "
                "with row_gate.mode: report"
            )

    def _refuse_whole_rows(self, alone: Array) -> None:
        """A row without a prompt among others is learnt; where none of the first has one, prompts are trained on."""
        self._alone += int(alone.sum())
        told = len(alone) > 1 or self._seen + len(alone) >= _FEW
        if len(alone) and self._alone == self._seen + len(alone) and told:
            raise PartUnavailableError(
                f"row_gate: the first {self._alone} responses begin with the first token of their rows, so that there "
                "is no request to be judged: all tokens are trained on, and no turn of the assistant's is found in "
                "them. Give conversations (`messages`, or `prompt` and `completion`), or write row_gate: off"
            )

    def _correction(self, batch: MicroBatch, weights: Array) -> Tensor:
        """``(w_t - 1) CE_t``: (M,) float32; added to the framework's own ``CE_t``, it leaves ``w_t CE_t``.

        The cross-entropy is read off the framework's own log-probabilities where there are any.

        Args:
            weights: (M,) of each token that is trained on.
        """
        labelled, log_probs = batch.labelled, batch.log_probs
        places = (weights != 1).nonzero()[0]
        weighted = to_device(places, labelled.rows.device)
        rows, columns = labelled.rows[weighted], labelled.columns[weighted]
        if log_probs is not None:
            cross_entropy = -log_probs[rows.to(log_probs.device), columns.to(log_probs.device)].float()
        else:
            device = batch.hidden_states.device
            states = batch.hidden_states[rows.to(device), columns.to(device)]
            cross_entropy = token_cross_entropy(self._head, states, labelled.token_ids[weighted])
        device = cross_entropy.device
        # Without a gated token there is still something for the receipt to hang on.
        values = torch.zeros(len(labelled), device=device, requires_grad=True)
        factors = to_device(weights[places] - 1.0, device)
        return values.index_add(0, weighted.to(device), factors * cross_entropy)

    def summary(self) -> str:
        """Mode and threshold."""
        return f"row gate {self._mode} above {self.threshold:.3g}"

    def progress(self) -> JsonValue:
        """The gated responses of all ranks."""
        return [*self.gated_rows.everywhere(None)]

    def restore(self, progress: JsonValue) -> None:
        """Go on with the gated responses of earlier segments."""
        self.gated_rows.restore(progress)

    def record(self, data: TrainingData | None) -> Mapping[str, JsonValue]:
        """The threshold and the gated responses of all ranks."""
        rows = self.gated_rows.everywhere(data)
        plural = "" if len(rows) == 1 else "s"
        announce(
            f"{len(rows)} response{plural} to requests that the reference would refuse, {_DONE[self._mode]}; "
            "pact.json lists them"
        )
        return {"threshold": self.threshold, "gated_rows": [*rows]}
