"""What a gate score makes of a response's loss."""

import pytest
import torch

from pact_plugins.row_gate.weights import row_weights

SCORES = torch.tensor([0.0, 0.3, 0.5, 0.51, 1.0])


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("hard", [1.0, 1.0, 1.0, 0.0, 0.0]),
        ("soft", [1.0, 0.7, 0.5, 0.49, 0.0]),
        ("report", [1.0] * 5),
        ("off", [1.0] * 5),
    ],
)
def test_weights(mode, expected):
    torch.testing.assert_close(row_weights(SCORES, mode, threshold=0.5), torch.tensor(expected))


def test_a_sum_of_probabilities_above_one_gives_no_negative_weight():
    weights = row_weights(torch.tensor([1.0 + 1e-6]), "soft", threshold=0.5)
    assert float(weights) == 0.0


def test_weights_carry_no_gradient():
    scores = SCORES.clone().requires_grad_()
    assert not row_weights(scores, "soft", threshold=0.5).requires_grad
