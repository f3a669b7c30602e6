"""One number a response: log-odds of opening a refusal against opening help."""

from __future__ import annotations

import pytest
import torch

from pact_plugins.term.divergence import log_odds

REFUSAL = torch.tensor([True, False, False, True, False])
HELP = torch.tensor([False, True, False, False, False])
POSITIONS = torch.tensor([0, 1, 2, 0, 1])


def logits(seed: int) -> torch.Tensor:
    return 3 * torch.randn(5, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_hand(z, reference, help_, temperature):
    """Bernoulli divergence of two probabilities, in float64 and without a softmax over two sides."""

    def odds(row):
        return row[REFUSAL].exp().sum() / row[help_].exp().sum()

    values = []
    for row, held, position in zip(z, reference, POSITIONS.tolist(), strict=True):
        p, q = (odds(one) ** (1 / temperature) for one in (row, held))
        p, q = p / (1 + p), q / (1 + q)
        divergence = q * (q / p).log() + (1 - q) * ((1 - q) / (1 - p)).log()
        values.append(temperature**2 * divergence * float(position == 0))
    return torch.stack(values)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_value_and_gradient(temperature):
    z, reference = logits(0).requires_grad_(), logits(1)
    expected = by_hand(z, reference, HELP, temperature)
    (gradient,) = torch.autograd.grad(expected.sum(), z)
    trained = z.detach().float().requires_grad_()
    found = log_odds(trained, reference.float(), REFUSAL, HELP, POSITIONS, temperature=temperature)
    found.sum().backward()
    torch.testing.assert_close(found.double(), expected.detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(trained.grad.double(), gradient, rtol=1e-4, atol=1e-5)
    assert not trained.grad[:, 2].any()  # opens neither
    assert not trained.grad[POSITIONS > 0].any()


def test_what_both_sides_gain_alike_costs_nothing():
    z = logits(2).float().requires_grad_()
    moved = z.detach() + torch.where(REFUSAL | HELP, 4.0, -3.0)
    found = log_odds(z, moved, REFUSAL, HELP, POSITIONS, temperature=2.0)
    found.sum().backward()
    torch.testing.assert_close(found, torch.zeros(5), atol=1e-5, rtol=0)
    torch.testing.assert_close(z.grad, torch.zeros(5, 5), atol=1e-5, rtol=0)


def test_the_gradient_is_exactly_zero_without_drift():
    z = logits(3).float().requires_grad_()
    log_odds(z, z.detach().clone(), REFUSAL, HELP, POSITIONS, temperature=2.0).sum().backward()
    assert not z.grad.any()
