"""Taking models apart, wrapped and bare; refusing what has no head or no decoder."""

from __future__ import annotations

import pytest
from peft import PromptTuningConfig, get_peft_model
from torch import nn
from transformers import AutoModel, AutoModelForSequenceClassification, OPTConfig, OPTForCausalLM

from pact_plugins.errors import AttachmentError
from pact_plugins.modeling import model_parts_of
from tests.helpers.tiny import llama_config, tiny_llama
from tests.helpers.trainers import lora


class Wrapper(nn.Module):
    """Stands for DistributedDataParallel."""

    def __init__(self, module):
        super().__init__()
        self.module = module


class Compiled(nn.Module):
    """Stands for what torch.compile returns; compiling itself takes half a minute."""

    def __init__(self, module):
        super().__init__()
        self._orig_mod = module


def test_plain_model():
    model = tiny_llama()
    model_parts = model_parts_of(model)
    assert model_parts.model is model_parts.causal_lm is model
    assert model_parts.peft_model is None
    assert model_parts.decoder is model.model
    assert model_parts.vocabulary_size == 368


def test_peft_model():
    base = tiny_llama()
    model = get_peft_model(base, lora(modules_to_save=["lm_head"]))
    model_parts = model_parts_of(model)
    assert model_parts.model is model_parts.peft_model is model
    assert model_parts.causal_lm is base
    assert model_parts.decoder is base.model
    assert model_parts.vocabulary_size == 368


def test_wrappers_are_taken_off():
    model = tiny_llama()
    assert model_parts_of(Wrapper(model)).model is model
    assert model_parts_of(Compiled(model)).model is model
    assert model_parts_of(Wrapper(Compiled(get_peft_model(model, lora())))).causal_lm is model


@pytest.mark.parametrize("auto", [AutoModel, AutoModelForSequenceClassification])
def test_models_without_an_output_embedding_are_refused(auto):
    with pytest.raises(AttachmentError, match="has no output embedding"):
        model_parts_of(auto.from_config(llama_config()))


def test_a_bare_module_is_refused():
    with pytest.raises(AttachmentError, match="Linear has no output embedding"):
        model_parts_of(nn.Linear(2, 2))


def test_prompt_learning_is_refused():
    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    model = get_peft_model(tiny_llama(), config)
    with pytest.raises(AttachmentError, match="PROMPT_TUNING adds virtual tokens"):
        model_parts_of(model)


def test_adapters_of_mixed_kinds_are_refused():
    model = get_peft_model(tiny_llama(), lora(), mixed=True)
    with pytest.raises(AttachmentError, match="adapters of mixed kinds"):
        model_parts_of(model)


def test_the_decoder_of_a_model_that_holds_one():
    """OPT calls it past the model around it, which a hook on that model would never see."""
    model = OPTForCausalLM(
        OPTConfig(vocab_size=368, hidden_size=32, ffn_dim=48, num_hidden_layers=1, num_attention_heads=2)
    )
    assert model_parts_of(model).decoder is model.model.decoder
