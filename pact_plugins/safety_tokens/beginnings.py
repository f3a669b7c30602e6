"""How the model begins its replies to harmful and harmless prompts, in which opening tokens are found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from pact_plugins.batch.openings import Openings, Prefix, RefusalCriterion, Replier, opening_mass
from pact_plugins.batch.teacher_forcing import Forced, TeacherForced, teacher_force
from pact_plugins.modeling import LiveHead, ModelParts, evaluation_mode
from pact_plugins.safety_tokens.opening_tokens import FirstToken, find_openings, first_token_probability

# Prompts of each kind with which longer beginnings are compared.
_ENOUGH = 48


class Beginnings:
    """The model's own distributions over beginnings, after prompts of both kinds.

    Args:
        harmful, harmless: contexts as token ids, up to where the reply begins.
        batch_size: contexts in one forward pass.
    """

    def __init__(
        self,
        model_parts: ModelParts,
        harmful: Sequence[Sequence[int]],
        harmless: Sequence[Sequence[int]],
        *,
        batch_size: int,
        progress: bool = True,
    ) -> None:
        self._model_parts, self._batch_size, self._progress = model_parts, batch_size, progress
        self._replier = Replier(model_parts.decoder, LiveHead(model_parts.causal_lm))
        self._harmful = harmful
        self.first = (self._mean_after(harmful, "harmful"), self._mean_after(harmless, "harmless"))
        self._some = tuple(some[:: max(1, len(some) // _ENOUGH)] for some in (harmful, harmless))

    def openings(self, excluded_ids: Iterable[int]) -> tuple[Prefix, ...]:
        """See ``find_openings``."""
        return find_openings((self.first[0].mean, self.first[1].mean), self._deeper, excluded_ids=excluded_ids)

    def masses(self, openings: Sequence[Prefix]) -> Tensor:
        """(number of harmful prompts,) probability that the reply begins with one of the openings."""
        criterion = RefusalCriterion(Openings(tuple(openings)), 0.0)
        with evaluation_mode(self._model_parts.decoder):
            return opening_mass(self._replier, self._harmful, criterion)

    def _mean_after(self, contexts: Sequence[Sequence[int]], kind: str) -> FirstToken:
        forced = self._forced(contexts, f"beginnings after {kind} prompts")
        return first_token_probability(forced, self._model_parts.causal_lm.device)

    def _deeper(self, prefix: Prefix) -> tuple[Tensor, Tensor]:
        harmful, harmless = (self._continued(contexts, prefix) for contexts in self._some)
        return harmful, harmless

    def _continued(self, contexts: Sequence[Sequence[int]], prefix: Prefix) -> Tensor:
        """(V,) mean over the contexts of ``p(prefix | context) p(token | context, prefix)``."""
        criterion = RefusalCriterion(Openings((prefix,)), 0.0)
        with evaluation_mode(self._model_parts.decoder):
            reach = opening_mass(self._replier, contexts, criterion)
        forced = self._forced([[*context, *prefix] for context in contexts], "following a beginning")
        device = self._model_parts.causal_lm.device
        total: Tensor | float = 0.0
        for one, states in zip(reach.tolist(), forced.hidden_states, strict=True):
            with torch.no_grad():
                total = total + one * torch.softmax(forced.head.logits(states[:1].to(device), None), dim=-1)[0].double()
        assert isinstance(total, Tensor)
        return (total / len(contexts)).float()

    def _forced(self, contexts: Sequence[Sequence[int]], description: str) -> Forced:
        return teacher_force(
            self._model_parts.decoder,
            self._replier.head,
            # Only the state after the context is wanted; which token would follow does not matter.
            [TeacherForced(context, [0]) for context in contexts],
            batch_size=self._batch_size,
            description=description,
            progress=self._progress,
        )
