"""Scores and directions: the goldens, a naive formula, edges."""

from __future__ import annotations

import pytest
import torch

from pact_plugins.safety_tokens import direction_from_scores, safety_direction
from tests.helpers.goldens import golden_names, read_golden


def response_mask(lengths, width):
    return torch.arange(width)[None] < lengths[:, None]


@pytest.mark.parametrize("name", golden_names("selection"))
def test_selection_reproduces_the_goldens(name):
    golden = read_golden(name)
    settings = golden.settings
    lengths = golden["response_lengths"].clamp(max=settings["max_response_tokens"])
    direction = safety_direction(
        golden["aligned_logits"],
        golden["base_logits"],
        response_mask(lengths, golden["aligned_logits"].size(1)),
        method=settings["method"],
        top_k=settings["top_k"],
        temperature=settings["temperature"],
    )
    expected = golden["safety_direction"]
    assert torch.equal(direction != 0, expected != 0)
    torch.testing.assert_close(direction, expected, rtol=1e-5, atol=1e-6)


def naive_direction(aligned, base, mask, method, top_k, temperature):
    scores, probabilities, rows = 0.0, 0.0, 0
    for row in range(len(aligned)):
        places = mask[row].nonzero()[:, 0].tolist()
        if not places:
            continue
        rows += 1
        row_score, row_probability = 0.0, 0.0
        for place in places:
            p_a = torch.softmax(aligned[row, place].double() / temperature, -1)
            p_b = torch.softmax(base[row, place].double() / temperature, -1)
            row_score += (p_a - p_b if method == "p_diff" else p_a * (p_b.log() - p_a.log())) / len(places)
            row_probability += p_a / len(places)
        scores, probabilities = scores + row_score, probabilities + row_probability
    scores, probabilities = scores / rows, probabilities / rows
    kept = probabilities.argsort(descending=True)[: top_k or len(scores)]
    direction = torch.zeros_like(scores)
    values = scores[kept]
    direction[kept] = (values - values.mean()) / (values.std() + 1e-6)
    return (direction / (direction.norm() + 1e-6)).float()


@pytest.mark.parametrize("method", ["p_diff", "pref_logratio"])
@pytest.mark.parametrize(("top_k", "temperature"), [(7, 1.0), (0, 1.0), (5, 2.0), (1000, 1.0)])
def test_direction_equals_a_naive_formula(method, top_k, temperature):
    generator = torch.Generator().manual_seed(2)
    aligned, base = (torch.randn(5, 6, 30, generator=generator) * 2 for _ in range(2))
    mask = response_mask(torch.tensor([6, 1, 0, 3, 4]), 6)
    direction = safety_direction(aligned, base, mask, method=method, top_k=top_k, temperature=temperature)
    expected = naive_direction(aligned, base, mask, method, top_k, temperature)
    torch.testing.assert_close(direction, expected, rtol=1e-4, atol=1e-5)
    assert int((direction != 0).sum()) == min(top_k or 30, 30)


def test_what_is_masked_does_not_count():
    generator = torch.Generator().manual_seed(3)
    aligned, base = (torch.randn(3, 4, 20, generator=generator) for _ in range(2))
    mask = response_mask(torch.tensor([2, 4, 0]), 4)
    expected = safety_direction(aligned, base, mask, top_k=6)
    aligned[0, 2:], base[0, 2:], aligned[2] = 50.0, -50.0, 9.0
    assert torch.equal(safety_direction(aligned, base, mask, top_k=6), expected)


def test_direction_has_unit_length_and_zero_mean():
    scores = torch.randn(40, generator=torch.Generator().manual_seed(4))
    direction = direction_from_scores(scores, torch.rand(40), top_k=10)
    values = direction[direction != 0]
    assert len(values) == 10
    assert float(direction.norm()) == pytest.approx(1, abs=1e-5)
    assert float(values.sum()) == pytest.approx(0, abs=1e-5)


def test_the_aligned_model_alone_says_which_tokens_are_kept():
    probability = torch.arange(20.0) / 190
    first = direction_from_scores(torch.randn(20), probability, top_k=5)
    second = direction_from_scores(torch.randn(20), probability, top_k=5)
    assert first.nonzero()[:, 0].tolist() == second.nonzero()[:, 0].tolist() == [15, 16, 17, 18, 19]


def test_excluded_ids_are_never_kept():
    probability = torch.arange(20.0) / 190
    scores = torch.randn(20)
    kept = direction_from_scores(scores, probability, top_k=5, excluded_ids=[19, 17, 17]).nonzero()[:, 0].tolist()
    assert kept == [13, 14, 15, 16, 18]
    everything = direction_from_scores(scores, probability, top_k=0, excluded_ids=range(15))
    assert everything.nonzero()[:, 0].tolist() == [15, 16, 17, 18, 19]
    more_than_there_are = direction_from_scores(scores, probability, top_k=10, excluded_ids=range(15))
    assert more_than_there_are.nonzero()[:, 0].tolist() == [15, 16, 17, 18, 19]


def test_a_single_token_is_kept():
    direction = direction_from_scores(torch.tensor([0.5, 0.2]), torch.tensor([0.9, 0.1]), top_k=1)
    torch.testing.assert_close(direction, torch.tensor([1.0, 0.0]), rtol=1e-4, atol=0)


def test_errors():
    logits = torch.zeros(2, 3, 5)
    with pytest.raises(ValueError, match=r"'nonsense'; known: p_diff, pref_logratio"):
        safety_direction(logits, logits, torch.ones(2, 3), method="nonsense")
    with pytest.raises(ValueError, match="no refusal has a response token"):
        safety_direction(logits, logits, torch.zeros(2, 3))
