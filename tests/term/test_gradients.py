"""The term's gradient beside the cross-entropy's, at the last hidden state."""

from __future__ import annotations

import math

import torch

from pact_plugins.batch.divergence import match
from pact_plugins.term.gradients import gradient_metrics

WEIGHT = torch.randn(7, 4, generator=torch.Generator().manual_seed(0))
STATES = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
TARGETS = torch.tensor([1, 0, 6])
HELD = torch.tensor([0, 2, 5])


class Linear:
    def logits(self, hidden_states, token_ids):
        return hidden_states @ (WEIGHT if token_ids is None else WEIGHT[token_ids]).T


def test_against_both_gradients_by_hand():
    reference = torch.randn(3, 3, generator=torch.Generator().manual_seed(2))

    def term(states):
        return 0.5 * match(Linear().logits(states, HELD), reference, temperature=2.0)

    found = gradient_metrics(STATES, TARGETS, Linear(), term)
    own = ((STATES @ WEIGHT.T).softmax(-1) - torch.eye(7)[TARGETS]) @ WEIGHT
    drift = (STATES @ WEIGHT[HELD].T / 2).softmax(-1) - (reference / 2).softmax(-1)
    held = 0.5 * 2.0 * drift @ WEIGHT[HELD]
    torch.testing.assert_close(found["term_share"], (held.norm() / own.norm()).reshape(1))
    cosine = (own * held).sum() / (own.norm() * held.norm())
    torch.testing.assert_close(found["term_angle"], (cosine.acos() * 180 / math.pi).reshape(1))


def test_a_term_that_undoes_the_task_stands_opposite():
    def against(states):
        return torch.nn.functional.cross_entropy(Linear().logits(states, None), TARGETS, reduction="none") * -2

    found = gradient_metrics(STATES, TARGETS, Linear(), against)
    torch.testing.assert_close(found["term_share"], torch.tensor([2.0]))
    torch.testing.assert_close(found["term_angle"], torch.tensor([180.0]), atol=0.1, rtol=0)


def test_no_drift_no_share():
    found = gradient_metrics(STATES, TARGETS, Linear(), lambda states: 0 * states.sum(dim=-1))
    assert found["term_share"].item() == 0.0
    assert found["term_angle"].item() == 90.0
