"""``published`` reproduces the authors' numbers, its alignment of labels, logits and prompt-free contexts included."""

from __future__ import annotations

import pytest
import torch

from pact_plugins.batch.prompt_free import prompt_free_batch
from pact_plugins.batch.responses import find_responses
from pact_plugins.contracts import MixtureSettings
from pact_plugins.term.divergence import published
from tests.helpers.goldens import golden_names, read_golden


def test_every_golden_file_is_read():
    assert len(golden_names("objective")) == 4
    assert len(golden_names("selection")) == 2


@pytest.mark.parametrize("name", golden_names("objective"))
def test_prompt_free_batch_is_the_published_one(name):
    golden = read_golden(name)
    batch = prompt_free_batch(find_responses(golden["labels"]), golden["header_ids"].tolist())
    # Rows without a response are kept by the published code and dropped by ours.
    with_response = (golden["labels"] != -100).any(dim=1)
    expected_mask = golden["post_attention_mask"][with_response]
    torch.testing.assert_close(torch.from_numpy(batch.attention_mask), expected_mask, rtol=0, atol=0)
    expected_ids = golden["post_input_ids"][with_response]
    found_ids = torch.from_numpy(batch.input_ids)
    torch.testing.assert_close(found_ids * expected_mask, expected_ids * expected_mask, rtol=0, atol=0)


@pytest.mark.parametrize("name", golden_names("objective"))
def test_published_reproduces_value_and_gradient(name):
    golden = read_golden(name)
    settings = golden.settings
    token_ids = golden["safety_direction"].nonzero()[:, 0]
    weights = golden["safety_direction"][token_ids].clamp(min=0)
    gate = MixtureSettings(
        top_p=settings["top_p"],
        alpha=settings["alpha"],
        bias=settings["bias"],
        temperature=settings["gate_temperature"],
        prefix_tokens=settings["prefix_tokens"],
        decay_tau=settings["decay_tau"],
        boost=settings["boost"],
    )
    responses = find_responses(golden["labels"])
    batch = prompt_free_batch(responses, golden["header_ids"].tolist())
    with_response = (golden["labels"] != -100).any(dim=1)
    prompt_free_logits = golden["ref_post_logits"][with_response][batch.rows, batch.columns][:, token_ids]

    train_logits = golden["train_logits"].clone().requires_grad_()
    per_token = published(
        responses.select(train_logits)[:, token_ids],
        responses.select(golden["ref_full_logits"])[:, token_ids],
        prompt_free_logits,
        weights,
        responses.positions,
        temperature=settings["kl_temperature"],
        mixture=gate,
    )
    assert per_token.shape == (int((golden["labels"] != -100).sum()),)
    loss = per_token.mean()
    loss.backward()
    torch.testing.assert_close(loss.detach(), golden["kl"], rtol=1e-5, atol=0)
    torch.testing.assert_close(train_logits.grad, golden["grad_train_logits"], rtol=0, atol=5e-6)
    assert train_logits.grad.abs().max() > 1e-3


def test_the_gate_and_the_weights_matter_to_the_goldens():
    """The goldens would tell a term without gate, or with positions off by one, from the published one."""
    golden = read_golden("objective_default")
    token_ids = golden["safety_direction"].nonzero()[:, 0]
    responses = find_responses(golden["labels"])
    batch = prompt_free_batch(responses, golden["header_ids"].tolist())
    inputs = (
        responses.select(golden["train_logits"])[:, token_ids],
        responses.select(golden["ref_full_logits"])[:, token_ids],
        golden["ref_post_logits"][batch.rows, batch.columns][:, token_ids],
        golden["safety_direction"][token_ids].clamp(min=0),
    )
    for positions, gate in (
        (responses.positions, None),
        (responses.positions + 1, MixtureSettings()),
        (responses.positions, MixtureSettings(top_p=0.8)),
    ):
        value = published(*inputs, positions, temperature=2.0, mixture=gate).mean()
        assert abs(float(value / golden["kl"]) - 1) > 1e-4
