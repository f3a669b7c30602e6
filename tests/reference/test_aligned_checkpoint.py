"""The aligned model, loaded beside the trained one, computes as that one does."""

from __future__ import annotations

import pytest
import torch

from pact_plugins.modeling import model_parts_of
from pact_plugins.reference.aligned_checkpoint import load_aligned_model
from tests.helpers.tiny import save_model, tiny_llama


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_it_gives_the_same_bits(tmp_path, attention):
    model = tiny_llama()
    model.set_attn_implementation(attention)
    loaded = load_aligned_model(save_model(tmp_path / "aligned", model), model_parts_of(model))
    assert loaded.causal_lm.config._attn_implementation == attention
    input_ids = torch.arange(5, 45).view(2, 20)
    mask = torch.ones_like(input_ids)
    mask[0, 15:] = 0
    with torch.no_grad():
        expected = model.eval()(input_ids=input_ids, attention_mask=mask).logits
        found = loaded.causal_lm(input_ids=input_ids, attention_mask=mask).logits
    assert torch.equal(found[0, :15], expected[0, :15])
    assert torch.equal(found[1], expected[1])
