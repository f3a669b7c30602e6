"""The gate: counting, decay, coefficient."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from pact_plugins.contracts import MixtureSettings
from pact_plugins.term.mixture import indecision, mixture_share, position_decay


def test_indecision_counts_the_smallest_sufficient_set():
    probabilities = torch.tensor([[0.5, 0.3, 0.15, 0.05], [0.97, 0.01, 0.01, 0.01], [0.25, 0.25, 0.25, 0.25]])
    logits = probabilities.log()
    expected = torch.tensor([3 / 4, 1 / 4, 4 / 4])
    assert torch.equal(indecision(logits, top_p=0.9, temperature=1.0), expected)
    assert torch.equal(indecision(logits, top_p=0.4, temperature=1.0), torch.tensor([1 / 4, 1 / 4, 2 / 4]))


def test_indecision_with_mass_exactly_reached_and_with_everything():
    logits = torch.tensor([[0.5, 0.25, 0.125, 0.125]]).log()
    assert float(indecision(logits, top_p=0.75, temperature=1.0)) == 2 / 4
    # Rounding must not count a fifth of four tokens.
    many = torch.randn(50, 7, generator=torch.Generator().manual_seed(0))
    counts = indecision(many, top_p=1.0, temperature=1.0)
    assert (counts <= 1).all()
    assert (counts > 0).all()


def test_indecision_uses_its_temperature_and_order_does_not_matter():
    logits = torch.tensor([[4.0, 2.0, 1.0, 0.0]])
    assert float(indecision(logits, top_p=0.9, temperature=1.0)) == 2 / 4
    assert float(indecision(logits, top_p=0.9, temperature=10.0)) == 4 / 4
    assert torch.equal(
        indecision(logits.flip(-1), top_p=0.9, temperature=1.0), indecision(logits, top_p=0.9, temperature=1.0)
    )


def test_position_decay():
    positions = torch.tensor([0, 7, 8, 9, 16])
    expected = torch.tensor([1.0, 1.0, 1.0, torch.exp(torch.tensor(-1 / 8)), torch.exp(torch.tensor(-1.0))])
    torch.testing.assert_close(position_decay(positions, prefix_tokens=8, decay_tau=8.0), expected)
    assert position_decay(positions, prefix_tokens=8, decay_tau=0).tolist() == [1, 1, 0, 0, 0]
    assert position_decay(positions, prefix_tokens=0, decay_tau=0).tolist() == [0, 0, 0, 0, 0]


def test_coefficient_is_half_at_equal_indecision_and_follows_its_settings():
    logits = torch.randn(5, 9, generator=torch.Generator().manual_seed(1))
    positions = torch.zeros(5, dtype=torch.long)
    assert torch.equal(mixture_share(logits, logits, positions, MixtureSettings()), torch.full((5,), 0.5))
    assert torch.equal(mixture_share(logits, logits, positions, MixtureSettings(boost=0)), torch.zeros(5))
    assert torch.equal(mixture_share(logits, logits, positions, MixtureSettings(boost=0.5)), torch.full((5,), 0.25))
    shifted = mixture_share(logits, logits, positions, MixtureSettings(alpha=3, bias=0.5))
    torch.testing.assert_close(shifted, torch.sigmoid(torch.full((5,), -1.5)))


def test_coefficient_grows_with_the_trained_models_indecision():
    flat, peaked = torch.zeros(1, 8), torch.tensor([[100.0] + [0.0] * 7])
    position = torch.zeros(1, dtype=torch.long)
    high = mixture_share(flat, peaked, position, MixtureSettings())
    low = mixture_share(peaked, flat, position, MixtureSettings())
    torch.testing.assert_close(high, torch.sigmoid(torch.tensor([1.75])))
    torch.testing.assert_close(low, torch.sigmoid(torch.tensor([-1.75])))


def test_gate_carries_no_gradient():
    logits = torch.randn(3, 4, requires_grad=True)
    coefficient = mixture_share(logits, torch.randn(3, 4), torch.zeros(3, dtype=torch.long), MixtureSettings())
    assert not coefficient.requires_grad


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("top_p", 0),
        ("top_p", 1.01),
        ("alpha", -1),
        ("bias", 11),
        ("temperature", 0),
        ("prefix_tokens", -1),
        ("decay_tau", -0.1),
        ("boost", 1.5),
        ("unknown", 1),
    ],
)
def test_impossible_settings_are_refused(key, value):
    with pytest.raises(ValidationError, match=key):
        MixtureSettings(**{key: value})
