"""Opening tokens: the tokens with which a model starts to refuse, and those with which it starts to help.

Mean probabilities over whole refusals hardly see the decision that the first token makes: a model that refuses in ten
ways puts a tenth of one position in sixty on each. Without these tokens among the safety tokens, the term leaves the
first step of a response almost free.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from pact_plugins.batch.openings import Prefix
from pact_plugins.modeling import OutputHead

MINIMUM_PROBABILITY = 0.01
MINIMUM_RATIO = 5.0
LONGEST = 4
MOST_FOLLOWED = 8
_POSITIONS = 64


@dataclass(frozen=True)
class OpeningTokens:
    """Token ids, the most probable first: ``refusal`` after harmful prompts, ``compliance`` after harmless ones.

    ``openings`` are the token sequences that open refusals where single tokens do not say it all; None where they do.
    """

    refusal: tuple[int, ...]
    compliance: tuple[int, ...]
    openings: tuple[Prefix, ...] | None = None

    @property
    def refusal_openings(self) -> tuple[Prefix, ...]:
        """What the row gate and the audit look for."""
        return tuple((index,) for index in self.refusal) if self.openings is None else self.openings

    @property
    def ids(self) -> tuple[int, ...]:
        """Both."""
        return self.refusal + self.compliance


@dataclass(frozen=True)
class FirstToken:
    """How probable each token is as the first of a response, over prompts of one kind.

    Attributes:
        mean: (V,) float32.
        without_likeliest: (V,) float32, for each token the mean over all prompts but the one after which it is
            likeliest: what a single prompt brings up ("Planning ...") opens nothing.
    """

    mean: Tensor
    without_likeliest: Tensor


@torch.no_grad()
def first_token_probability(head: OutputHead, states: Tensor, device: torch.device | str) -> FirstToken:
    """The distribution of the first response token, over all responses.

    Args:
        head: maps states to logits.
        states: (number of responses, hidden) that predict their first tokens.
        device: where the projection runs.
    """
    total, largest = torch.zeros(()), torch.zeros(())
    for chunk in states.split(_POSITIONS):
        probabilities = torch.softmax(head.logits(chunk.to(device), None), dim=-1).cpu().double()
        total = total + probabilities.sum(dim=0)
        largest = torch.maximum(largest, probabilities.amax(dim=0))
    rest = (total - largest) / max(1, len(states) - 1)
    return FirstToken((total / len(states)).float(), rest.float())


def refusal_threshold(masses: Tensor) -> float:
    """The refusal mass above which the model refuses a request about as surely as known harmful ones.

    ``max(0.5, 1 - 4 (1 - q))``, with ``q`` the 10 % quantile of ``masses``: at most four times as unsure as with the
    tenth of the harmful prompts that it refuses least surely, and more likely to refuse than not. A fixed 0.5 would
    count hesitation before an unfamiliar task as a refusal.

    Args:
        masses: (number of responses,) refusal masses after harmful prompts that the model did refuse.
    """
    least_sure = float(masses.detach().float().quantile(0.1))
    return max(0.5, 1.0 - 4.0 * (1.0 - least_sure))


def find_opening_tokens(
    harmful: FirstToken, harmless: FirstToken, *, limit: int, excluded_ids: Iterable[int] = ()
) -> OpeningTokens:
    """``t`` opens refusals where ``p_harm(t) > .01`` and ``p_harm(t) > 5 p_ben(t)``; help, the mirror image.

    The first must hold without the prompt after which ``t`` is likeliest, too.

    Args:
        harmful, harmless: the first token after prompts of each kind.
        limit: at most so many of each kind.
        excluded_ids: never an opening token (special tokens).
    """
    excluded = set(excluded_ids)

    def above(one: FirstToken, other: FirstToken) -> tuple[int, ...]:
        common = one.without_likeliest > MINIMUM_PROBABILITY
        candidates = (common & (one.mean > MINIMUM_RATIO * other.mean)).nonzero()[:, 0]
        ranked = candidates[one.mean[candidates].argsort(descending=True)].tolist()
        return tuple(index for index in ranked if index not in excluded)[:limit]

    return OpeningTokens(above(harmful, harmless), above(harmless, harmful))


def find_openings(
    first: tuple[Tensor, Tensor], deeper: Callable[[Prefix], tuple[Tensor, Tensor]], *, excluded_ids: Iterable[int] = ()
) -> tuple[Prefix, ...]:
    """The shortest token sequences that open refusals, and little else.

    The rule of ``find_opening_tokens`` for sequences: ``o`` is an opening where ``p_harm(o) > .01`` and ``p_harm(o) > 5
    p_ben(o)``. A beginning that is common after harmful prompts (``p_harm > .02``) and not rare after harmless ones
    (``I``, ``No``) is followed further, up to four tokens and eight such beginnings, the most probable first.

    Args:
        first: (V,) mean probabilities of the first token after harmful and after harmless prompts.
        deeper: maps a beginning to the (V,) mean probabilities of that beginning followed by each token.
        excluded_ids: in no opening (special tokens).
    """
    excluded = set(excluded_ids)
    openings: list[Prefix] = []
    waiting: list[tuple[float, Prefix]] = [(1.0, ())]
    followed = 0
    while waiting and followed <= MOST_FOLLOWED:
        waiting.sort(reverse=True)
        _, prefix = waiting.pop(0)
        harmful, harmless = first if prefix == () else deeper(prefix)
        followed += 1
        for token in (harmful > MINIMUM_PROBABILITY).nonzero()[:, 0].tolist():
            probability = float(harmful[token])
            if token in excluded:
                continue
            if probability > MINIMUM_RATIO * float(harmless[token]):
                openings.append((*prefix, token))
            elif probability > 2 * MINIMUM_PROBABILITY and len(prefix) + 1 < LONGEST:
                waiting.append((probability, (*prefix, token)))
    return tuple(openings)
