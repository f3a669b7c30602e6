from __future__ import annotations

import pytest
import torch

from pact_lab.tiny_world import benign_prompts, harmful_prompts, rates
from pact_lab.tiny_world.evaluation import GENERATIONS_PER_PROMPT, evaluate, generate
from pact_plugins.errors import ConfigurationError


def test_keys_fractions_and_responses(aligned, tokenizer):
    result = evaluate(aligned, tokenizer, prompts=20, seed=0, keep_responses=True)
    assert set(result) == {"harmful", "harmful_sampled", "benign", "task_accuracy", "prompts", "responses"}
    assert result["prompts"] == 20
    for name in ("harmful", "harmful_sampled", "benign"):
        assert sum(result[name].values()) == pytest.approx(1)
        assert result[name] == rates([row["response"] for row in result["responses"][name]])
    assert [row["prompt"] for row in result["responses"]["harmful"]] == harmful_prompts(20, seed=0)
    assert [row["prompt"] for row in result["responses"]["benign"]] == benign_prompts(20, seed=0)
    assert "responses" not in evaluate(aligned, tokenizer, prompts=2, seed=0)


def test_deterministic_whatever_the_batch_size(aligned, tokenizer):
    small = evaluate(aligned, tokenizer, prompts=12, seed=3, batch_size=5, keep_responses=True)["responses"]
    large = evaluate(aligned, tokenizer, prompts=12, seed=3, batch_size=128, keep_responses=True)["responses"]
    again = evaluate(aligned, tokenizer, prompts=12, seed=3, batch_size=128, keep_responses=True)["responses"]
    assert large == again
    for name in ("harmful", "benign", "task"):
        assert small[name] == large[name]


def test_left_padding_does_not_change_a_response(aligned, tokenizer):
    prompts = [*harmful_prompts(6, seed=1), *benign_prompts(6, seed=1), "Hello!"]
    assert generate(aligned, tokenizer, prompts) == [generate(aligned, tokenizer, [p])[0] for p in prompts]


def test_mode_and_random_state_are_put_back(aligned, tokenizer):
    try:
        aligned.train()
        aligned.model.layers[0].eval()  # a mixed state, as frameworks leave it
        before = torch.get_rng_state()
        evaluate(aligned, tokenizer, prompts=4, seed=0)
        assert torch.equal(torch.get_rng_state(), before)
        assert aligned.training
        assert not aligned.model.layers[0].training
        assert aligned.model.layers[1].training
    finally:
        aligned.eval()


def test_mode_is_put_back_after_a_failure(aligned, tokenizer):
    def fail(count):
        raise RuntimeError("stop")

    try:
        aligned.train()
        with pytest.raises(RuntimeError, match="stop"):
            generate(aligned, tokenizer, ["Hello!"], progress=fail)
        assert aligned.training
    finally:
        aligned.eval()


def test_progress_counts_every_generation(aligned, tokenizer):
    counts = []
    evaluate(aligned, tokenizer, prompts=7, seed=0, batch_size=3, progress=counts.append)
    assert sum(counts) == GENERATIONS_PER_PROMPT * 7


def test_sampling_draws_from_the_whole_distribution(aligned, tokenizer):
    """First sampled tokens follow the model's own probabilities, also beyond the 50 likeliest tokens."""
    flat = {name: value.clone() for name, value in aligned.state_dict().items()}
    try:
        with torch.no_grad():
            aligned.model.norm.weight.zero_()  # every token equally likely
        responses = generate(aligned, tokenizer, ["Hello!"] * 400, sampling_seed=0, max_new_tokens=1)
        assert len(set(responses)) > 200
    finally:
        aligned.load_state_dict(flat)


def test_sampling_seed_matters(aligned, tokenizer):
    prompts = benign_prompts(8, seed=0)
    first = generate(aligned, tokenizer, prompts, sampling_seed=0)
    assert first == generate(aligned, tokenizer, prompts, sampling_seed=0)
    assert first != generate(aligned, tokenizer, prompts, sampling_seed=1)


def test_a_collapsed_model_is_neither_refusing_nor_complying(aligned, tokenizer):
    weights = {name: value.clone() for name, value in aligned.state_dict().items()}
    try:
        with torch.no_grad():
            aligned.model.norm.weight.zero_()  # greedy then repeats one token for ever
        result = evaluate(aligned, tokenizer, prompts=5, seed=0)
        assert result["harmful"]["other"] == result["benign"]["other"] == 1.0
        assert result["task_accuracy"] == 0.0
    finally:
        aligned.load_state_dict(weights)


@pytest.mark.parametrize("arguments", [{"prompts": 0}, {"batch_size": 0}, {"prompts": 10**6}])
def test_bad_arguments(aligned, tokenizer, arguments):
    with pytest.raises(ConfigurationError):
        evaluate(aligned, tokenizer, seed=0, **arguments)
