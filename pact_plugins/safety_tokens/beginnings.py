"""How the model begins its replies to harmful and harmless prompts, in which opening tokens are found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from pact_plugins.batch.openings import Openings, Prefix, RefusalCriterion, Replier, opening_mass
from pact_plugins.batch.teacher_forcing import TeacherForced, teacher_force
from pact_plugins.modeling import LiveHead, ModelParts, evaluation_mode
from pact_plugins.safety_tokens.opening_tokens import find_openings, first_token_probability

# Prompts of each kind with which longer beginnings are compared.
_ENOUGH = 48
# What follows a less probable beginning adds less than a hundredth of what makes an opening.
_NEGLIGIBLE = 1e-4
_POSITIONS = 64


class Beginnings:
    """The model's own distributions over beginnings, after prompts of both kinds.

    Args:
        harmful, harmless: contexts as token ids, up to where the reply begins.
        batch_size: contexts of 512 tokens in one forward pass, shorter ones more.
        after_harmful: (number of harmful contexts, hidden) that predict the first tokens, where they are known.
    """

    def __init__(
        self,
        model_parts: ModelParts,
        harmful: Sequence[Sequence[int]],
        harmless: Sequence[Sequence[int]],
        *,
        batch_size: int,
        progress: bool = True,
        after_harmful: Tensor | None = None,
    ) -> None:
        self._model_parts, self._batch_size, self._progress = model_parts, batch_size, progress
        self._replier = Replier(model_parts.decoder, LiveHead(model_parts.causal_lm))
        self._harmful = harmful
        self._after_harmful = self._states(harmful, "harmful prompts") if after_harmful is None else after_harmful
        after_harmless = self._states(harmless, "harmless prompts")
        head, device = self._replier.head, model_parts.causal_lm.device
        self.first = tuple(
            first_token_probability(head, states, device) for states in (self._after_harmful, after_harmless)
        )
        self._some = tuple(
            _Followed(contexts[:: _step(contexts)], states[:: _step(contexts)])
            for contexts, states in ((harmful, self._after_harmful), (harmless, after_harmless))
        )

    def openings(self, excluded_ids: Iterable[int]) -> tuple[Prefix, ...]:
        """See ``find_openings``."""
        return find_openings((self.first[0].mean, self.first[1].mean), self._deeper, excluded_ids=excluded_ids)

    def masses(self, openings: Sequence[Prefix]) -> Tensor:
        """(number of harmful prompts,) probability that the reply begins with one of the openings."""
        criterion = RefusalCriterion(Openings(tuple(openings)), 0.0)
        first = self._after_harmful.to(self._model_parts.causal_lm.device)
        with evaluation_mode(self._model_parts.decoder):
            return opening_mass(self._replier, self._harmful, criterion, first)

    def _deeper(self, prefix: Prefix) -> tuple[Tensor, Tensor]:
        harmful, harmless = (self._continued(some, prefix) for some in self._some)
        return harmful, harmless

    def _continued(self, some: _Followed, prefix: Prefix) -> Tensor:
        """(V,) mean over the contexts of ``p(prefix | context) p(token | context, prefix)``.

        What comes before the last token of ``prefix`` has been followed already.
        """
        before, states = some.reached[prefix[:-1]]
        reach = before * self._probabilities(states)[:, prefix[-1]]
        rows = (reach > _NEGLIGIBLE).nonzero()[:, 0].tolist()
        after = torch.zeros_like(states)
        total = torch.zeros(self._model_parts.vocabulary_size, dtype=torch.float64)
        if rows:
            after[rows] = self._states([[*some.contexts[row], *prefix] for row in rows], "a beginning")
            total = reach[rows].double() @ self._probabilities(after[rows]).double()
        some.reached[prefix] = (reach, after)
        return (total / len(some.contexts)).float()

    @torch.no_grad()
    def _probabilities(self, states: Tensor) -> Tensor:
        """(n, hidden) -> (n, V) float32 on the CPU."""
        device, head = self._model_parts.causal_lm.device, self._replier.head
        logits = [head.logits(chunk.to(device), None) for chunk in states.split(_POSITIONS)]
        return torch.cat([chunk.float().softmax(dim=-1).cpu() for chunk in logits])

    def _states(self, contexts: Sequence[Sequence[int]], after: str) -> Tensor:
        """(number of contexts, hidden) that predict what follows each, on the CPU."""
        forced = teacher_force(
            self._model_parts.decoder,
            self._replier.head,
            # Only the state after the context is wanted; which token would follow does not matter.
            [TeacherForced(context, [0]) for context in contexts],
            batch_size=self._batch_size,
            description=f"beginnings after {after}",
            progress=self._progress,
        )
        return torch.cat(forced.hidden_states)


class _Followed:
    """Contexts of one kind, and for each beginning how probable it is after each, and the states that follow it."""

    def __init__(self, contexts: Sequence[Sequence[int]], first: Tensor) -> None:
        self.contexts = contexts
        self.reached: dict[Prefix, tuple[Tensor, Tensor]] = {(): (torch.ones(len(contexts)), first)}


def _step(contexts: Sequence[Sequence[int]]) -> int:
    return max(1, len(contexts) // _ENOUGH)
