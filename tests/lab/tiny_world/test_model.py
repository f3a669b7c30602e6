from __future__ import annotations

import torch
from transformers import AutoModelForCausalLM

from pact_lab.tiny_world.model import new_model, save_checkpoint


def test_new_model_fits_the_tokenizer(tokenizer):
    model = new_model(tokenizer)
    assert model.num_parameters() == 825_472
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert (model.config.eos_token_id, model.config.pad_token_id) == (tokenizer.eos_token_id, tokenizer.pad_token_id)


def test_saving_keeps_the_weights_to_half_precision_and_the_model_untouched(tokenizer, tmp_path):
    torch.manual_seed(0)
    model = new_model(tokenizer)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    save_checkpoint(model, tokenizer, tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert loaded.dtype == torch.float32
    assert loaded.config.tie_word_embeddings
    for name, value in model.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, before[name])
        assert torch.equal(loaded.state_dict()[name], value.half().float()), name
