"""Names for the content of a model and of a tokenizer."""

from __future__ import annotations

import json

import torch
from peft import get_peft_model
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from pact_plugins.modeling import model_fingerprint, tokenizer_fingerprint
from tests.helpers.tiny import tiny_llama, tiny_tokenizer
from tests.helpers.trainers import lora, move_weights


def test_a_model_keeps_its_name_under_any_adapter():
    name = model_fingerprint(tiny_llama())
    assert model_fingerprint(tiny_llama()) == name
    for adapter in (lora(), lora(modules_to_save=["lm_head"]), lora(target_modules=["lm_head", "q_proj"])):
        model = get_peft_model(tiny_llama(), adapter)
        assert model_fingerprint(model.get_base_model()) == name
        move_weights(model)
        assert model_fingerprint(model.get_base_model()) == name


def test_another_model_has_another_name():
    name = model_fingerprint(tiny_llama())
    assert model_fingerprint(tiny_llama(seed=1)) != name
    model = tiny_llama()
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight.add_(1e-4)
    assert model_fingerprint(model) != name


def test_added_tokens_do_not_rename_a_tokenizer():
    tokenizer = tiny_tokenizer()
    name = tokenizer_fingerprint(tokenizer)
    tokenizer.add_special_tokens({"pad_token": "<|another pad|>"})
    tokenizer.add_tokens(["brand new"])
    assert tokenizer_fingerprint(tokenizer) == name


def test_another_vocabulary_has_another_name():
    tokenizer = tiny_tokenizer()
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary = content["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    other = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(content)))
    assert len(other) == len(tokenizer)
    assert tokenizer_fingerprint(other) != tokenizer_fingerprint(tokenizer)
