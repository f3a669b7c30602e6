"""Openers: the tokens with which a model starts to refuse, and those with which it starts to help.

Mean probabilities over whole refusals hardly see the decision that the first token makes: a model that refuses in ten
ways puts a tenth of one position in sixty on each. Without these tokens among the safety tokens, the term leaves the
first step of a response almost free.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from pact_plugins.errors import SafetyTokensError
from pact_plugins.safety_tokens.artifact import SafetyTokens
from pact_plugins.safety_tokens.calibration import Forced

MINIMUM_PROBABILITY = 0.01
MINIMUM_RATIO = 5.0
_POSITIONS = 64


@dataclass(frozen=True)
class Openers:
    """Token ids, the most probable first: ``refusal`` after harmful prompts, ``compliance`` after harmless ones."""

    refusal: tuple[int, ...]
    compliance: tuple[int, ...]

    @property
    def ids(self) -> tuple[int, ...]:
        """Both."""
        return self.refusal + self.compliance


@torch.no_grad()
def first_token_probability(forced: Forced, device: torch.device | str) -> Tensor:
    """(V,) float32: mean distribution of the first response token.

    Args:
        forced: views whose first hidden state predicts the first response token.
        device: where the projection runs.
    """
    states = torch.stack([hidden_states[0] for hidden_states in forced.hidden_states])
    total: Tensor | float = 0.0
    for chunk in states.split(_POSITIONS):
        total = total + torch.softmax(forced.head.logits(chunk.to(device), None), dim=-1).double().sum(dim=0)
    assert isinstance(total, Tensor)
    return (total / len(states)).float()


def find_openers(
    harmful_probability: Tensor, harmless_probability: Tensor, *, limit: int, excluded_ids: Iterable[int] = ()
) -> Openers:
    """``t`` is a refusal opener where ``p_harm(t) > .01`` and ``p_harm(t) > 5 p_ben(t)``; compliance, the mirror image.

    Args:
        harmful_probability, harmless_probability: (V,) mean first-token distributions.
        limit: at most so many of each kind.
        excluded_ids: never an opener (special tokens).
    """
    excluded = set(excluded_ids)

    def above(one: Tensor, other: Tensor) -> tuple[int, ...]:
        candidates = ((one > MINIMUM_PROBABILITY) & (one > MINIMUM_RATIO * other)).nonzero()[:, 0]
        ranked = candidates[one[candidates].argsort(descending=True)].tolist()
        return tuple(index for index in ranked if index not in excluded)[:limit]

    return Openers(above(harmful_probability, harmless_probability), above(harmless_probability, harmful_probability))


def stored_openers(tokens: SafetyTokens) -> Openers:
    """The openers that calibration stored with the safety tokens.

    Raises:
        SafetyTokensError: the file names none, or ids that its vocabulary has not.
    """
    found = [tokens.settings.get(key) for key in ("refusal_openers", "compliance_openers")]
    if not all(isinstance(ids, list) and all(type(index) is int for index in ids) for ids in found) or not found[0]:
        raise SafetyTokensError(
            f"safety_tokens: the file with fingerprint {tokens.fingerprint} names no refusal openers; "
            "calibrate again (`pact calibrate`)"
        )
    openers = Openers(*(tuple(ids) for ids in found if ids is not None))
    if not all(0 <= index < tokens.vocabulary_size for index in openers.ids):
        raise SafetyTokensError("safety_tokens: the file is damaged: an opener is not in its vocabulary")
    return openers
