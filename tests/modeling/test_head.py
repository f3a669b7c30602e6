"""The heads equal the model's own logits, for real architectures with random weights."""

from __future__ import annotations

import pytest
import torch
from peft import get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from pact_plugins.errors import AttachmentError
from pact_plugins.modeling import LiveHead, model_parts_of
from pact_plugins.training.probe import check_model
from tests.helpers.tiny import tiny_llama
from tests.helpers.trainers import lora, move_weights

COMMON = {
    "vocab_size": 368,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 1,
    "initializer_range": 0.4,
}
GPT2 = {"vocab_size": 368, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256, "bos_token_id": 1}
ARCHITECTURES = {
    "llama": COMMON,
    "mistral": COMMON,
    "qwen2": COMMON,
    "qwen3": COMMON,
    "gemma": COMMON,
    "gemma2": {**COMMON, "final_logit_softcapping": 2.0, "query_pre_attn_scalar": 8, "sliding_window": 64},
    "gemma3_text": {**COMMON, "final_logit_softcapping": 3.0, "query_pre_attn_scalar": 8, "sliding_window": 64},
    "cohere": {**COMMON, "logit_scale": 0.25},
    "cohere2": {**COMMON, "logit_scale": 0.125, "sliding_window": 64},
    "recurrent_gemma": {
        **COMMON,
        "logits_soft_cap": 3.0,
        "lru_width": 32,
        "block_types": ["recurrent", "attention"],
        "attention_window_size": 8,
    },
    "granite": {**COMMON, "logits_scaling": 8.0},
    "gpt2": {**GPT2, "eos_token_id": 1, "initializer_range": 0.4},
    "phi": COMMON,
    "phi3": COMMON,
    "olmo2": COMMON,
    "gpt_neox": COMMON,
    "stablelm": COMMON,
    "starcoder2": COMMON,
}
TOKEN_IDS = torch.tensor([3, 17, 55, 200, 360])


def build(name, **overrides):
    torch.manual_seed(0)
    config = AutoConfig.for_model(name, **{**ARCHITECTURES[name], **overrides})
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


def states_and_logits(model):
    """(N, hidden) last hidden states and (N, V) the model's own logits."""
    model_parts = model_parts_of(model)
    input_ids = torch.arange(2, 32).view(2, 15)
    with torch.no_grad():
        hidden = model_parts.decoder(input_ids=input_ids, use_cache=False)[0]
        logits = model_parts.model(input_ids=input_ids, use_cache=False).logits
    return hidden.flatten(0, 1), logits.flatten(0, 1)


def assert_heads_agree(model, *, tolerance=1e-5):
    hidden, logits = states_and_logits(model)
    head = LiveHead(model_parts_of(model).causal_lm)
    assert logits.std() > 1e-3
    for token_ids in (TOKEN_IDS, None):
        expected = logits if token_ids is None else logits[:, token_ids]
        with torch.no_grad():
            found = head.logits(hidden, token_ids)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected.float(), rtol=tolerance, atol=tolerance)
    return head, hidden, logits


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_head_equals_the_models_own_logits(name, tied):
    model = build(name, tie_word_embeddings=tied)
    head, hidden, logits = assert_heads_agree(model)
    frozen = head.frozen()
    for token_ids in (TOKEN_IDS, None):
        expected = logits if token_ids is None else logits[:, token_ids]
        torch.testing.assert_close(frozen.logits(hidden, token_ids), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["gemma2", "gemma3_text", "cohere", "granite"])
def test_what_an_architecture_does_to_its_logits_is_large_here(name):
    """Without scale or cap the comparison above would fail."""
    model = build(name)
    hidden, logits = states_and_logits(model)
    plain = model.get_output_embeddings()(hidden)
    assert float((plain - logits).detach().abs().max()) > 0.1


@pytest.mark.parametrize("name", ["gpt2", "phi"])
def test_bias_of_the_output_embedding(name):
    model = build(name)
    embedding = model.get_output_embeddings()
    embedding.bias = torch.nn.Parameter(torch.linspace(-3, 3, 368))
    assert_heads_agree(model)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_models_are_projected_in_float32(dtype):
    model = tiny_llama().to(dtype)
    hidden, logits = states_and_logits(model)
    found = LiveHead(model).logits(hidden, TOKEN_IDS)
    exact = hidden.double() @ model.lm_head.weight.double().T[:, TOKEN_IDS]
    assert found.dtype == torch.float32
    assert (found - exact).abs().max() < 1e-5
    assert (found - exact).abs().max() < (logits[:, TOKEN_IDS] - exact).abs().max()


def test_autocast_does_not_round_the_projection():
    model = tiny_llama()
    hidden, _ = states_and_logits(model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = LiveHead(model).logits(hidden, TOKEN_IDS)
    assert torch.equal(found, LiveHead(model).logits(hidden, TOKEN_IDS))


def test_a_live_head_follows_its_model_and_a_frozen_one_does_not():
    model = tiny_llama()
    hidden, logits = states_and_logits(model)
    head = LiveHead(model)
    frozen = head.frozen()
    with torch.no_grad():
        model.lm_head.weight.mul_(2)
    torch.testing.assert_close(head.logits(hidden, TOKEN_IDS), 2 * logits[:, TOKEN_IDS])
    torch.testing.assert_close(frozen.logits(hidden, TOKEN_IDS), logits[:, TOKEN_IDS])


def test_gradient_reaches_the_rows_and_the_states():
    model = tiny_llama()
    hidden, _ = states_and_logits(model)
    hidden.requires_grad_()
    LiveHead(model).logits(hidden, TOKEN_IDS).square().sum().backward()
    touched = model.lm_head.weight.grad.to_dense().abs().sum(dim=1).nonzero()[:, 0]
    assert torch.equal(touched, TOKEN_IDS)
    assert hidden.grad.abs().sum() > 0


@pytest.mark.parametrize("tied", [False, True])
def test_a_copy_of_a_tied_embedding_is_shared(tied):
    model = tiny_llama(tie_word_embeddings=tied)
    copied = model.model.embed_tokens.weight.detach().clone()
    frozen = LiveHead(model).frozen(copied)
    assert (frozen._rows is copied) == tied


def test_lora_with_the_output_embedding_saved():
    model = get_peft_model(tiny_llama(), lora(modules_to_save=["lm_head"]))
    move_weights(model)
    head, hidden, logits = assert_heads_agree(model)
    with model.disable_adapter():
        own = head.logits(hidden, TOKEN_IDS)
    assert not torch.allclose(own, logits[:, TOKEN_IDS])
    torch.testing.assert_close(own, hidden @ tiny_llama().lm_head.weight.T[:, TOKEN_IDS])
    torch.testing.assert_close(head.frozen().logits(hidden, TOKEN_IDS), logits[:, TOKEN_IDS])


def test_lora_on_the_output_embedding():
    model = get_peft_model(tiny_llama(), lora(target_modules=["q_proj", "lm_head"]))
    move_weights(model)
    head, hidden, _ = assert_heads_agree(model)
    with model.disable_adapter():
        torch.testing.assert_close(head.logits(hidden, TOKEN_IDS), hidden @ tiny_llama().lm_head.weight.T[:, TOKEN_IDS])
    with pytest.raises(AttachmentError, match=r"reference\.path"):
        head.frozen()


def test_an_unknown_treatment_of_logits_is_found_before_training(tokenizer):
    """A model that scales its logits in a way no configuration tells."""
    model = tiny_llama()
    original = type(model).forward

    class Scaled(type(model)):
        def forward(self, *args, **kwargs):
            output = original(self, *args, **kwargs)
            output.logits = output.logits * 1.5
            return output

    model.__class__ = Scaled
    model_parts = model_parts_of(model)
    with pytest.raises(AttachmentError, match="does something to its logits"):
        check_model(model_parts, LiveHead(model), tokenizer, TOKEN_IDS, half_precision=False)


def test_layers_before_the_output_embedding_are_found_before_training(tokenizer):
    """RemBERT's head makes the states smaller first."""
    settings = {**COMMON, "is_decoder": True, "input_embedding_size": 16, "output_embedding_size": 16}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("rembert", **settings)).eval()
    with pytest.raises(AttachmentError, match=r"RemBertForCausalLM does something between .* \(32 wide\)"):
        check_model(model_parts_of(model), LiveHead(model), tokenizer, TOKEN_IDS, half_precision=False)


def test_the_probe_accepts_every_architecture(tokenizer):
    for name in ARCHITECTURES:
        model = build(name)
        check_model(model_parts_of(model), LiveHead(model), tokenizer, TOKEN_IDS, half_precision=False)
        assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_trained_head_gets_the_gradient_of_indexing_it(tied, dtype):
    model = tiny_llama(tie_word_embeddings=tied).to(dtype)
    input_ids = torch.arange(20, 60).view(2, 20)

    def gradient(logits_of):
        model.zero_grad(set_to_none=True)
        output = model(input_ids, labels=input_ids, output_hidden_states=True)
        (output.loss + logits_of(output.hidden_states[-1]).square().mean()).backward()
        assert model.lm_head.weight.grad.layout is torch.strided
        return model.lm_head.weight.grad.clone()

    ours = gradient(lambda hidden: LiveHead(model).logits(hidden, TOKEN_IDS))
    indexed = gradient(lambda hidden: hidden.float() @ model.lm_head.weight[TOKEN_IDS].float().T)
    torch.testing.assert_close(ours, indexed)


def test_no_gradient_as_large_as_the_head_is_made_for_a_few_rows():
    model = tiny_llama()
    logits = LiveHead(model).logits(torch.randn(4, 32), TOKEN_IDS)
    (found,) = torch.autograd.grad(logits.sum(), model.lm_head.weight)
    assert found.is_sparse
    assert found.coalesce().values().shape == (len(TOKEN_IDS), 32)
