"""Sixteen bits a logit change no divergence by more than a thousandth."""

from __future__ import annotations

import pytest
import torch

from pact_plugins.batch.divergence import match
from pact_plugins.errors import PACTError
from pact_plugins.reference.cache.codec import decode, encode


@pytest.mark.parametrize("spread", [1.0, 4.0, 12.0])
def test_divergence_and_gradient_keep_three_digits(spread):
    """Logits as spread as those of real models, drifted by a little or a lot."""
    generator = torch.Generator().manual_seed(0)
    reference = spread * torch.randn(400, 50, generator=generator) + 15
    for drift in (0.05, 1.0):
        trained = reference + drift * torch.randn(400, 50, generator=generator)
        results = []
        for target in (reference, decode(*encode(reference))):
            logits = trained.clone().requires_grad_()
            term = match(logits, target, temperature=2.0).sum()
            term.backward()
            results.append((term.detach(), logits.grad))
        (exact, exact_gradient), (kept, kept_gradient) = results
        assert float(abs(kept - exact) / exact) < 1e-3
        assert float((kept_gradient - exact_gradient).norm() / exact_gradient.norm()) < 2e-3


def test_error_grows_slower_than_the_distance_from_the_maximum():
    distance = torch.linspace(0, 20, 4001)
    logits = (30 - distance).unsqueeze(0)
    error = (decode(*encode(logits)) - logits).abs()[0]
    assert float(error[distance <= 1].max()) < 8e-5
    assert float(error[distance <= 4].max()) < 1.1e-4
    assert float(error.max()) < 8e-4
    float16 = (distance.half().float() - distance).abs()
    assert float(error[distance > 2].mean()) < float(float16[distance > 2].mean()) / 5


def test_what_a_softmax_cannot_see_is_cut():
    kept = decode(*encode(torch.tensor([[3.0, -200.0, float("-inf")]])))
    assert kept[0, 0] == 3
    assert (kept[0, 1:] < -80).all()
    assert kept.isfinite().all()


def test_logits_that_are_not_finite_are_refused():
    with pytest.raises(PACTError, match="not finite"):
        encode(torch.tensor([[1.0, float("nan")]]))
