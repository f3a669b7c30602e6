"""The divergences against naive formulas: values, gradients, zero drift, precision, extremes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pact_plugins.batch.divergence import match
from pact_plugins.contracts import MixtureSettings, ObjectiveInputs, TokenFacts
from pact_plugins.term.divergence import full_kl, log_odds, published, published_positive
from pact_plugins.term.mixture import mixture_share
from pact_plugins.term.objectives import BUILT_IN_OBJECTIVES

N, S = 17, 11


def draw(seed: int = 0, spread: float = 3.0, dtype: torch.dtype = torch.float64) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = [torch.randn(N, S, generator=generator, dtype=torch.float64) * spread for _ in range(3)]
    weights = torch.randn(S, generator=generator, dtype=torch.float64) + 0.3
    return {
        "train": logits[0].to(dtype),
        "reference": logits[1].to(dtype),
        "prompt_free": logits[2].to(dtype),
        "weights": weights.clamp(min=0).float(),
        "positions": torch.arange(N) % 13,
    }


def naive_target(drawn, temperature, gate, positive_only):
    """``q`` in float64, one token at a time, as the formulas of the paper read."""
    weights = drawn["weights"].double()
    rows = []
    for token in range(N):
        reference = drawn["reference"][token].double()
        if gate is not None and gate.boost > 0:
            coefficient = naive_gate(drawn, token, gate)
            reference = (1 - coefficient) * reference + coefficient * drawn["prompt_free"][token].double()
        keep = weights > 0 if positive_only else torch.ones(S, dtype=torch.bool)
        row = torch.softmax(reference[keep] / temperature, -1) * weights[keep]
        rows.append(row / row.sum())
    return torch.stack(rows)


def naive_gate(drawn, token, gate):
    def count(logits):
        mass, size = 0.0, 0
        for probability in torch.softmax(logits.double() / gate.temperature, -1).sort(descending=True).values.tolist():
            mass, size = mass + probability, size + 1
            if mass >= gate.top_p:
                break
        return size / S

    position = int(drawn["positions"][token])
    if position < gate.prefix_tokens:
        decay = 1.0
    else:
        decay = (
            0.0 if gate.decay_tau == 0 else torch.exp(torch.tensor((gate.prefix_tokens - position) / gate.decay_tau))
        )
    difference = count(drawn["train"][token]) - count(drawn["prompt_free"][token])
    return float(torch.sigmoid(torch.tensor(gate.alpha * (difference - gate.bias))) * decay * gate.boost)


def naive_divergence(train, target, temperature):
    log_probs = torch.log_softmax(train / temperature, -1)
    return temperature**2 * torch.special.xlogy(target, target).sub(target * log_probs).sum(-1)


def value_and_gradient(function, train):
    train = train.detach().clone().requires_grad_()
    values = function(train)
    # Uneven gradients tell rows apart.
    (values * torch.linspace(0.5, 2, len(values), dtype=values.dtype)).sum().backward()
    return values.detach(), train.grad


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("function", [match, full_kl])
def test_match_and_full_kl_equal_the_naive_formula(function, temperature):
    drawn = draw(dtype=torch.float32)
    target = torch.softmax(drawn["reference"].double() / temperature, -1)
    values, gradient = value_and_gradient(
        lambda train: function(train, drawn["reference"], temperature=temperature), drawn["train"]
    )
    expected, expected_gradient = value_and_gradient(
        lambda train: naive_divergence(train, target, temperature), drawn["train"].double()
    )
    assert values.dtype == torch.float32
    torch.testing.assert_close(values.double(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient.double(), expected_gradient, rtol=1e-5, atol=1e-6)


GATES = [
    None,
    MixtureSettings(),
    MixtureSettings(boost=0),
    MixtureSettings(boost=0.4, alpha=5, bias=-0.2, top_p=0.5, temperature=3, prefix_tokens=2, decay_tau=3),
    MixtureSettings(prefix_tokens=4, decay_tau=0),
]


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize(("function", "positive_only"), [(published, False), (published_positive, True)])
def test_published_forms_equal_the_naive_formula(function, positive_only, gate):
    drawn = draw(seed=1, dtype=torch.float32)
    temperature = 2.0
    values, gradient = value_and_gradient(
        lambda train: function(
            train,
            drawn["reference"],
            drawn["prompt_free"],
            drawn["weights"],
            drawn["positions"],
            temperature=temperature,
            mixture=gate,
        ),
        drawn["train"],
    )
    target = naive_target(drawn, temperature, gate, positive_only)
    keep = drawn["weights"] > 0 if positive_only else torch.ones(S, dtype=torch.bool)
    expected, expected_gradient = value_and_gradient(
        lambda train: naive_divergence(train[:, keep], target, temperature), drawn["train"].double()
    )
    torch.testing.assert_close(values.double(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient.double(), expected_gradient, rtol=1e-5, atol=1e-6)


def test_gradient_agrees_with_finite_differences():
    drawn = draw(seed=2, spread=1.0)
    drawn["train"], drawn["reference"] = drawn["train"][:3], drawn["reference"][:3]
    _, gradient = value_and_gradient(
        lambda train: match(train, drawn["reference"], temperature=2.0), drawn["train"].float()
    )
    target = torch.softmax(drawn["reference"] / 2.0, -1)
    scale = torch.linspace(0.5, 2, 3, dtype=torch.float64)
    for row in range(3):
        for column in range(S):
            moved = [drawn["train"].float().double().clone() for _ in range(2)]
            moved[0][row, column] += 1e-5
            moved[1][row, column] -= 1e-5
            up, down = ((naive_divergence(train, target, 2.0) * scale).sum() for train in moved)
            assert abs(float(up - down) / 2e-5 - float(gradient[row, column])) < 1e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("spread", [0.1, 3.0, 30.0])
@pytest.mark.parametrize("function", [match, full_kl])
def test_zero_drift_is_exactly_zero_with_exactly_zero_gradient(function, dtype, spread):
    logits = draw(seed=3, spread=spread)["train"].to(dtype)
    for temperature in (1.0, 2.0, 0.7):
        values, gradient = value_and_gradient(lambda x, t=temperature: function(x, logits, temperature=t), logits)
        assert torch.equal(values, torch.zeros(N))
        assert torch.equal(gradient, torch.zeros_like(logits))


def test_match_ignores_a_shift_of_all_logits_and_is_never_negative():
    drawn = draw(seed=4, dtype=torch.float32)
    values = match(drawn["train"], drawn["reference"], temperature=2.0)
    shifted = match(drawn["train"] + 7.0, drawn["reference"] - 3.0, temperature=2.0)
    torch.testing.assert_close(values, shifted, rtol=1e-4, atol=1e-5)
    assert (values > 0).all()


def naive_in_low_precision(train, reference, temperature, dtype):
    """What one would write without a thought for precision."""
    log_target = nn.functional.log_softmax(reference.to(dtype) / temperature, -1)
    log_probs = nn.functional.log_softmax(train.to(dtype) / temperature, -1)
    return nn.functional.kl_div(log_probs, log_target, log_target=True, reduction="none").sum(-1) * temperature**2


@pytest.mark.parametrize("seed", range(4))
def test_bfloat16_error_is_no_larger_than_that_of_a_naive_bfloat16_implementation(seed):
    drawn = draw(seed=seed, dtype=torch.float32)
    truth, true_gradient = value_and_gradient(
        lambda train: match(train, drawn["reference"], temperature=2.0), drawn["train"]
    )
    rounded = [drawn["train"].bfloat16(), drawn["reference"].bfloat16()]
    ours, our_gradient = value_and_gradient(lambda train: match(train, rounded[1], temperature=2.0), rounded[0])
    naive, naive_gradient = value_and_gradient(
        lambda train: naive_in_low_precision(train, rounded[1], 2.0, torch.bfloat16), rounded[0]
    )
    assert ours.dtype == torch.float32
    assert our_gradient.dtype == torch.bfloat16
    assert (ours - truth).abs().mean() <= (naive.float() - truth).abs().mean()
    error = (our_gradient.float() - true_gradient).abs().mean()
    assert error <= (naive_gradient.float() - true_gradient).abs().mean()


@pytest.mark.parametrize("extreme", [1e4, -1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_extreme_logits_give_finite_values_and_gradients(extreme, dtype):
    drawn = draw(seed=5, dtype=torch.float32)
    for name in ("train", "reference", "prompt_free"):
        drawn[name][:, 0] = extreme
        drawn[name][::2, 1] = -extreme
        drawn[name] = drawn[name].to(dtype)
    arguments = (drawn["reference"], drawn["prompt_free"], drawn["weights"], drawn["positions"])
    for function in (
        lambda train: match(train, drawn["reference"], temperature=2.0),
        lambda train: match(train, drawn["reference"].flip(1), temperature=2.0),
        lambda train: published(train, *arguments, temperature=2.0, mixture=MixtureSettings()),
        lambda train: published_positive(train, *arguments, temperature=2.0, mixture=MixtureSettings()),
    ):
        values, gradient = value_and_gradient(function, drawn["train"])
        assert torch.isfinite(values).all()
        assert torch.isfinite(gradient).all()


def test_published_with_a_single_positive_weight_is_that_tokens_negative_log_probability():
    drawn = draw(seed=6, dtype=torch.float32)
    weights = torch.zeros(S)
    weights[4] = 0.5
    arguments = (drawn["reference"], drawn["prompt_free"], weights, drawn["positions"])
    values, gradient = value_and_gradient(
        lambda train: published(train, *arguments, temperature=2.0, mixture=MixtureSettings()), drawn["train"]
    )
    torch.testing.assert_close(values, -4 * torch.log_softmax(drawn["train"] / 2, -1)[:, 4])
    assert (gradient[:, 4] < 0).all()
    # One token alone is certain of itself.
    values, gradient = value_and_gradient(
        lambda train: published_positive(train, *arguments, temperature=2.0, mixture=MixtureSettings()), drawn["train"]
    )
    assert torch.equal(values, torch.zeros(N))
    assert torch.equal(gradient, torch.zeros(N, S))


def test_published_target_survives_underflow():
    """The positive token is 400 nats below the others: softmax * w is 0 in float32, its logarithm is not."""
    train, reference = torch.zeros(1, 3), torch.tensor([[0.0, 0.0, -800.0]])
    weights = torch.tensor([0.0, 0.0, 1.0])
    value = published(train, reference, None, weights, torch.zeros(1), temperature=2.0, mixture=None)
    torch.testing.assert_close(value, 4 * torch.tensor([3.0]).log())


def test_negative_weights_count_as_zero():
    drawn = draw(seed=7, dtype=torch.float32)
    signed = drawn["weights"].clone()
    signed[drawn["weights"] == 0] = -1.0
    for function in (published, published_positive):
        first, second = (
            function(
                drawn["train"], drawn["reference"], None, weights, drawn["positions"], temperature=2.0, mixture=None
            )
            for weights in (drawn["weights"], signed)
        )
        assert torch.equal(first, second)


def test_missing_inputs_are_errors():
    drawn = draw(dtype=torch.float32)
    with pytest.raises(ValueError, match="prompt_free_logits is None"):
        published(
            drawn["train"],
            drawn["reference"],
            None,
            drawn["weights"],
            drawn["positions"],
            temperature=2.0,
            mixture=MixtureSettings(),
        )
    with pytest.raises(ValueError, match="no safety token has a positive weight"):
        published(
            drawn["train"],
            drawn["reference"],
            None,
            torch.zeros(S),
            drawn["positions"],
            temperature=2.0,
            mixture=None,
        )


@pytest.mark.parametrize("objective", BUILT_IN_OBJECTIVES, ids=lambda objective: objective.name)
def test_gradient_reaches_the_trained_logits_only(objective):
    drawn = draw(seed=8, dtype=torch.float32)
    logits = {name: drawn[name].clone().requires_grad_() for name in ("train", "reference", "prompt_free")}
    gate, ids = MixtureSettings(), torch.arange(len(drawn["weights"]))
    output = objective.compute(
        ObjectiveInputs(
            train_logits=logits["train"],
            reference_logits=logits["reference"],
            prompt_free_logits=logits["prompt_free"] if objective.needs_prompt_free(gate) else None,
            weights=drawn["weights"],
            positions=drawn["positions"],
            temperature=2.0,
            mixture=gate,
            options={},
            tokens=TokenFacts(ids, ids % 2 == 0, ids % 2 == 1),
        )
    )
    output.divergence.sum().backward()
    assert logits["train"].grad.abs().sum() > 0
    assert logits["reference"].grad is None
    assert logits["prompt_free"].grad is None
    if objective.needs_prompt_free(gate):
        expected = mixture_share(drawn["train"], drawn["prompt_free"], drawn["positions"], gate)
        assert torch.equal(output.metrics["mixture"], expected)
    else:
        assert not output.metrics


def test_log_odds_hold_one_number_where_a_reply_begins():
    drawn = draw(seed=3, dtype=torch.float32)
    refusal, help_ = torch.arange(S) < 3, torch.arange(S) >= S - 4
    values = log_odds(drawn["train"], drawn["reference"], refusal, help_, drawn["positions"], temperature=2.0)
    for token, position in enumerate(drawn["positions"].tolist()):
        odds = [
            float(logits[token, refusal].double().exp().sum().log() - logits[token, help_].double().exp().sum().log())
            for logits in (drawn["reference"], drawn["train"])
        ]
        p, q = (torch.sigmoid(torch.tensor(one / 2.0, dtype=torch.float64)) for one in odds)
        expected = 4.0 * (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()) if position == 0 else 0.0
        assert float(values[token]) == pytest.approx(float(expected), rel=1e-4, abs=1e-6)


def test_prompt_free_logits_are_asked_for_only_where_they_are_mixed_in():
    by_name = {objective.name: objective for objective in BUILT_IN_OBJECTIVES}
    assert by_name["published"].needs_prompt_free(MixtureSettings())
    assert not by_name["published"].needs_prompt_free(MixtureSettings(boost=0))
    assert not by_name["match"].needs_prompt_free(MixtureSettings())
    assert by_name["match"].default_weight == 2.0
    assert by_name["published"].default_weight == 1.0
    assert [objective.name for objective in BUILT_IN_OBJECTIVES if objective.full_vocabulary] == ["full_kl"]


def test_no_token_gives_an_empty_result():
    empty = torch.zeros(0, S)
    train = torch.zeros(0, S, requires_grad=True)
    assert match(train, empty, temperature=2.0).shape == (0,)
    values = published(
        train, empty, empty, torch.ones(S), torch.zeros(0, dtype=torch.long), temperature=2.0, mixture=MixtureSettings()
    )
    assert values.shape == (0,)
    values.sum().backward()
