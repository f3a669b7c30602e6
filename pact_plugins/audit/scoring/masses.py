"""The model's view of the first response token: one forward pass over contexts, no generation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pact_plugins.audit.scoring.encoding import EncodedTurn
from pact_plugins.batch.openings import Openings, RefusalCriterion, Replier, opening_mass
from pact_plugins.batch.teacher_forcing import TeacherForced, forced_states
from pact_plugins.errors import ConfigurationError
from pact_plugins.modeling import LiveHead, ModelParts, evaluation_mode
from pact_plugins.safety_tokens.opening_tokens import OpeningTokens

# Positions that are projected on the whole vocabulary at once.
_POSITIONS = 64


@dataclass(frozen=True)
class FirstToken:
    """Of N turns, each (N,) float32 on the CPU.

    Attributes:
        refusal_mass: probability that the model's own reply begins with a refusal opening.
        compliance_mass: the same over compliance opening tokens.
        own_log_probability: log p in nats of the first token of the response in the data; NaN where there is none.
    """

    refusal_mass: Tensor
    compliance_mass: Tensor
    own_log_probability: Tensor


@torch.no_grad()
def first_token(
    model_parts: ModelParts,
    turns: Sequence[EncodedTurn],
    opening_tokens: OpeningTokens,
    *,
    batch_size: int,
    description: str,
    progress: bool,
) -> FirstToken:
    """Score turns in batches of similar length, projecting at most 64 positions on the vocabulary at a time.

    Raises:
        ConfigurationError: the model's probabilities are not finite.
    """
    result = torch.full((len(turns), 3), torch.nan)
    waiting: list[tuple[int, Tensor]] = []
    head = LiveHead(model_parts.causal_lm)

    def project() -> None:
        indices = [index for index, _ in waiting]
        log_probs = torch.log_softmax(head.logits(torch.cat([states for _, states in waiting]), None), dim=-1)
        result[indices] = _columns(log_probs, [turns[index].first_response_id for index in indices], opening_tokens)
        waiting.clear()

    for index, states in forced_states(
        model_parts.decoder,
        [TeacherForced(turn.context_ids, [0]) for turn in turns],
        batch_size=batch_size,
        description=description,
        progress=progress,
    ):
        # A copy: the state of one position must not keep its whole batch alive.
        waiting.append((index, states.clone()))
        if len(waiting) == _POSITIONS:
            project()
    if waiting:
        project()
    if any(len(opening) > 1 for opening in opening_tokens.refusal_openings):
        result[:, 0] = _opening_masses(model_parts, turns, opening_tokens)
    if not result[:, :2].isfinite().all():
        raise ConfigurationError(
            f"the model's probabilities are not finite in {model_parts.causal_lm.dtype}; use another dtype (`--dtype`)"
        )
    return FirstToken(*result.unbind(dim=1))


def _opening_masses(model_parts: ModelParts, turns: Sequence[EncodedTurn], opening_tokens: OpeningTokens) -> Tensor:
    criterion = RefusalCriterion(Openings(opening_tokens.refusal_openings), 0.0)
    with evaluation_mode(model_parts.decoder):
        replier = Replier(model_parts.decoder, LiveHead(model_parts.causal_lm))
        return opening_mass(replier, [turn.context_ids for turn in turns], criterion)


def _columns(log_probs: Tensor, first_response_ids: Sequence[int | None], opening_tokens: OpeningTokens) -> Tensor:
    """(N, V) -> (N, 3): refusal mass, compliance mass, the data's own first token."""
    own = torch.tensor([-1 if index is None else index for index in first_response_ids], device=log_probs.device)
    # A token beyond the model's vocabulary has no probability either.
    known = (own >= 0) & (own < log_probs.size(-1))
    own_log_probs = log_probs.gather(1, own.where(known, 0)[:, None])[:, 0]
    masses = [log_probs[:, list(ids)].exp().sum(dim=-1) for ids in (opening_tokens.refusal, opening_tokens.compliance)]
    return torch.stack([*masses, own_log_probs.where(known, torch.nan)], dim=1).cpu()
