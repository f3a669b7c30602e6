"""The baselines' sum with the framework's cross-entropy, against each method's formula in float64 and autograd."""

from __future__ import annotations

import pytest
import torch

from pact_lab.baselines import ASFT, BASELINE_OBJECTIVES, CONSTRAINED_SFT, LOGIT_MATCHING
from pact_plugins import PACTConfig
from pact_plugins.contracts import MixtureSettings, ObjectiveInputs
from pact_plugins.errors import ConfigurationError

N, V = 12, 9


def draw(objective, *, drift=True, **options):
    generator = torch.Generator().manual_seed(3)
    train = 2 * torch.randn(N, V, generator=generator)
    reference = 2 * torch.randn(N, V, generator=generator) if drift else train.clone()
    inputs = ObjectiveInputs(
        train_logits=train.requires_grad_(),
        reference_logits=reference.requires_grad_(),
        prompt_free_logits=None,
        weights=None,
        positions=torch.arange(N) % 7,
        temperature=2.0,
        mixture=MixtureSettings(),
        options=options,
        target_ids=torch.randint(V, (N,), generator=generator),
    )
    return inputs, objective.compute(inputs).divergence


def cross_entropy(inputs):
    return torch.nn.functional.cross_entropy(inputs.train_logits, inputs.target_ids, reduction="none")


def naive_asft(train, reference, target, position, kl_weight=0.05):
    log_probs = torch.log_softmax(train, -1)
    reference_probs = torch.softmax(reference, -1)
    kl = sum(reference_probs[v] * (reference_probs[v].log() - log_probs[v]) for v in range(V))
    return -log_probs[target].exp().detach() * log_probs[target] + kl_weight * kl


def naive_constrained(train, reference, target, position, betas=(0.5, 2.0, 0.1), early=5):
    beta = betas[0] if position == 0 else betas[1] if position < early else betas[2]
    ratio = torch.softmax(train, -1)[target] / torch.softmax(reference, -1)[target]
    return -2 / beta * torch.log(torch.sigmoid(beta * torch.log(ratio)))


@pytest.mark.parametrize(
    ("objective", "naive", "options", "arguments"),
    [
        (ASFT, naive_asft, {}, {}),
        (ASFT, naive_asft, {"kl_weight": 2}, {"kl_weight": 2}),
        (CONSTRAINED_SFT, naive_constrained, {}, {}),
        (
            CONSTRAINED_SFT,
            naive_constrained,
            {"first_beta": 3.0, "early_beta": 1.0, "later_beta": 0.3, "early_tokens": 2},
            {"betas": (3.0, 1.0, 0.3), "early": 2},
        ),
    ],
)
def test_the_sum_with_the_cross_entropy_is_the_method(objective, naive, options, arguments):
    inputs, divergence = draw(objective, **options)
    total = divergence + cross_entropy(inputs)
    train = inputs.train_logits.detach().double().requires_grad_()
    rows = zip(train, inputs.reference_logits.detach().double(), inputs.target_ids, inputs.positions, strict=True)
    expected = torch.stack([naive(z, r, y, int(t), **arguments) for z, r, y, t in rows])
    torch.testing.assert_close(total.double(), expected, rtol=1e-5, atol=1e-6)
    weights = torch.linspace(0.5, 2, N)
    (total * weights).sum().backward()
    (expected * weights.double()).sum().backward()
    torch.testing.assert_close(inputs.train_logits.grad.double(), train.grad, rtol=1e-4, atol=1e-6)
    assert inputs.reference_logits.grad is None


def test_constrained_sft_starts_as_plain_fine_tuning():
    inputs, divergence = draw(CONSTRAINED_SFT, drift=False)
    divergence.sum().backward()
    torch.testing.assert_close(inputs.train_logits.grad, torch.zeros(N, V), rtol=0, atol=1e-6)


def test_logit_matching_is_the_mean_squared_distance():
    inputs, divergence = draw(LOGIT_MATCHING)
    expected = [
        sum(float(z - r) ** 2 for z, r in zip(train, reference, strict=True)) / V
        for train, reference in zip(inputs.train_logits.detach(), inputs.reference_logits.detach(), strict=True)
    ]
    torch.testing.assert_close(divergence.detach(), torch.tensor(expected))
    assert not draw(LOGIT_MATCHING, drift=False)[1].any()


@pytest.mark.parametrize("objective", [ASFT, CONSTRAINED_SFT])
@pytest.mark.parametrize("options", [{"kl_wieght": 1}, {"kl_weight": -1}, {"first_beta": "x"}, {"early_beta": True}])
def test_bad_options_are_named(objective, options):
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        draw(objective, **options)


def test_they_are_objectives_like_any_other():
    for objective in BASELINE_OBJECTIVES:
        config = PACTConfig(preset="match", term={"objective": objective.name})
        assert config.term.spec is objective
        assert config.term.weight == 1.0
