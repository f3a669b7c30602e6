"""What is kept for later runs belongs to a model's configuration too, and mixtures of experts write their replies."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM

from pact_plugins.modeling import model_fingerprint
from pact_plugins.modeling.generation import generate_ids
from tests.helpers.tiny import tiny_llama, tiny_tokenizer
from tests.training.test_denominator import MIXTURES, mixture

CHANGES = {
    "rope": {"rope_parameters": {"rope_type": "default", "rope_theta": 1.3e4}},
    "norm": {"rms_norm_eps": 1e-3},
    "activation": {"hidden_act": "gelu"},
    "scale": {"head_dim": 8, "attention_multiplier": 0.5},
    "soft cap": {"final_logit_softcapping": 30.0},
    "window": {"sliding_window": 8},
}
WITHOUT_EFFECT = {
    "cache": {"use_cache": False},
    "padding": {"pad_token_id": 3},
    "dropout": {"attention_dropout": 0.1},
    "router": {"output_router_logits": True, "router_aux_loss_coef": 0.1},
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_setting_that_changes_the_forward_pass_changes_the_name(change):
    model, name = tiny_llama(), model_fingerprint(tiny_llama())
    for key, value in CHANGES[change].items():
        setattr(model.config, key, value)
    assert model_fingerprint(model) != name


@pytest.mark.parametrize("change", WITHOUT_EFFECT)
def test_a_setting_of_training_or_of_generation_does_not(change):
    model, name = tiny_llama(), model_fingerprint(tiny_llama())
    for key, value in WITHOUT_EFFECT[change].items():
        setattr(model.config, key, value)
    assert model_fingerprint(model) == name


def test_a_model_has_one_name_in_memory_and_on_disk(tmp_path):
    model = tiny_llama()
    model.save_pretrained(tmp_path)
    assert model_fingerprint(AutoModelForCausalLM.from_pretrained(tmp_path)) == model_fingerprint(model)


@pytest.mark.parametrize("kind", MIXTURES)
def test_a_mixture_of_experts_with_its_auxiliary_loss_on_writes_replies(kind):
    model = mixture(kind)()
    prompts = ["Please help with a garden plan.", "Sorry?"]
    with torch.no_grad():
        found = generate_ids(model, tiny_tokenizer(), prompts, max_new_tokens=6, progress=False)
    assert all(found)
    assert model.config.output_router_logits is True
    model.config.output_router_logits = False
    assert generate_ids(model, tiny_tokenizer(), prompts, max_new_tokens=6, progress=False) == found
