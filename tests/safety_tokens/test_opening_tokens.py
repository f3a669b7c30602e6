"""Opening tokens: which first tokens tell refusing from helping, and their place among the safety tokens."""

from __future__ import annotations

import pytest
import torch

from pact_lab import tiny_world
from pact_plugins import PACTConfig
from pact_plugins.files import write_json
from pact_plugins.safety_tokens.opening_tokens import (
    FirstToken,
    find_opening_tokens,
    first_token_probability,
    refusal_threshold,
)
from pact_plugins.safety_tokens.recipe import calibrate
from pact_plugins.safety_tokens.scoring import direction_from_scores
from tests.helpers.tiny import tiny_llama, tiny_tokenizer


def test_thresholds_order_and_mirror():
    harmful = _everywhere([0.30, 0.50, 0.004, 0.02, 0.10, 0.0])
    harmless = _everywhere([0.05, 0.01, 0.000, 0.01, 0.60, 0.3])
    found = find_opening_tokens(harmful, harmless, limit=5)
    assert found.refusal == (1, 0)  # 2 is too rare, 3 not five times as frequent
    assert found.compliance == (4, 5)
    assert find_opening_tokens(harmful, harmless, limit=1).refusal == (1,)
    assert find_opening_tokens(harmful, harmless, limit=5, excluded_ids=[1]).refusal == (0,)


def test_what_one_prompt_alone_brings_up_opens_nothing():
    head, hidden = _ReadsProbabilities(), []
    for after in ([0.98, 0.01, 0.01], [0.01, 0.98, 0.01], [0.01, 0.98, 0.01]):
        hidden.append(torch.tensor([after]).log())
    found = first_token_probability(head, torch.cat(hidden), "cpu")
    torch.testing.assert_close(found.mean, torch.tensor([1.00, 1.97, 0.03]) / 3)
    torch.testing.assert_close(found.without_likeliest, torch.tensor([0.01, 0.495, 0.01]))
    rare = _everywhere([0.001, 0.001, 0.001])
    assert find_opening_tokens(found, rare, limit=5).refusal == (1,)


class _ReadsProbabilities:
    """An output embedding whose hidden states are the logits themselves."""

    def logits(self, hidden_states, token_ids):
        return hidden_states


def _everywhere(probabilities):
    """The same after every prompt of a kind."""
    mean = torch.tensor(probabilities)
    return FirstToken(mean, mean)


@pytest.mark.parametrize(("least_sure", "expected"), [(0.99, 0.96), (0.9, 0.6), (0.7, 0.5), (0.0, 0.5)])
def test_the_threshold_is_near_what_the_model_refuses_least_surely(least_sure, expected):
    masses = torch.cat([torch.full((2,), least_sure), torch.full((8,), 1.0)])
    assert refusal_threshold(masses) == pytest.approx(expected)


def test_included_tokens_take_the_place_of_the_least_probable():
    scores = torch.arange(1.0, 9.0) ** 2  # no score is the mean of the others
    probability = torch.tensor([0.3, 0.2, 0.12, 0.1, 0.1, 0.05, 0.0, 0.0])
    kept = direction_from_scores(scores, probability, top_k=3, included_ids=[7]).nonzero()[:, 0].tolist()
    assert kept == [0, 1, 7]
    kept = direction_from_scores(scores, probability, top_k=3, included_ids=[7], excluded_ids=[7])
    assert kept.nonzero()[:, 0].tolist() == [0, 1, 2]


def test_the_aligned_tiny_model(tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(tiny_world.aligned_path())
    tokenizer = AutoTokenizer.from_pretrained(tiny_world.aligned_path())
    write_json(tmp_path / "harmful.json", tiny_world.harmful_prompts(48, seed=3, split="train"))
    write_json(tmp_path / "harmless.json", tiny_world.benign_prompts(48, seed=3, split="train"))
    config = PACTConfig(
        safety_tokens={
            "harmful_prompts_path": str(tmp_path / "harmful.json"),
            "harmless_prompts_path": str(tmp_path / "harmless.json"),
            "max_response_tokens": 16,
            "batch_size": 48,
        },
    )
    tokens = calibrate(model, tokenizer, config.recipe(), progress=False)
    refusal, compliance = (
        tokens.settings["refusal_opening_token_strings"],
        tokens.settings["compliance_opening_token_strings"],
    )
    assert "I" in refusal
    assert "Sure" in compliance
    assert list(tokens.refusal_opening_tokens) == tokens.settings["refusal_opening_tokens"]
    assert 0.5 < tokens.refusal_threshold < 1
    assert len(tokens) == 50
    assert set(refusal) | set(compliance) <= set(tokens.token_strings)

    alone = PACTConfig(safety_tokens={**config.safety_tokens.model_dump(), "include_openings": False})
    without = calibrate(model, tokenizer, alone.recipe(), progress=False)
    assert "Sure" not in without.token_strings
    assert without.settings["compliance_opening_token_strings"] == compliance


def test_no_openings_is_said_at_calibration(tmp_path, caplog):
    """A model that answers everything alike has none."""
    paths = {
        "refusals_path": tmp_path / "refusals.json",
        "harmless_prompts_path": tmp_path / "harmless.json",
    }
    files = {key: str(path) for key, path in paths.items()}
    config = PACTConfig(safety_tokens={**files, "max_response_tokens": 4})
    write_json(tmp_path / "harmless.json", ["help with that"])
    write_json(tmp_path / "refusals.json", [{"prompt": "help with that", "response": "I cannot."}])
    with caplog.at_level("INFO", logger="pact_plugins"):
        tokens = calibrate(tiny_llama(), tiny_tokenizer(), config.recipe(), progress=False)
    assert tokens.refusal_openings == ()
    assert "no refusal openings found" in caplog.text
