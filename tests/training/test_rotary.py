"""Rotary embeddings that depend on the batch, or on earlier batches: the reference is rotated as the trained model."""

from __future__ import annotations

import pytest
import torch
from peft import get_peft_model
from transformers import AutoModelForCausalLM, Phi3Config

from pact_plugins.modeling.rotary import length_without_rescaling
from tests.helpers.plain_trainer import added, assert_same, expected, rows_of
from tests.helpers.tiny import llama_config, save_model
from tests.helpers.trainers import lora

pytestmark = pytest.mark.framework
ORIGINAL = 16
# Two rows a micro-batch. The second batch is beyond the original length too, and shorter than the first one.
LENGTHS = (40, 5, 20, 8, 6, 3, 14, 7)
ROWS = rows_of(LENGTHS)
PAIRS = [ROWS[start : start + 2] for start in range(0, 8, 2)]


def longrope():
    factors = {"short_factor": [1.0] * 4, "long_factor": [3.0, 4.0, 6.0, 9.0]}
    settings = llama_config().to_dict()
    keep = (
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "pad_token_id",
    )
    rope = {"rope_type": "longrope", "rope_theta": 1e4, **factors, "original_max_position_embeddings": ORIGINAL}
    return Phi3Config(
        **{key: settings[key] for key in keep},
        num_key_value_heads=2,
        max_position_embeddings=64,
        original_max_position_embeddings=ORIGINAL,
        initializer_range=0.3,
        rope_parameters=rope,
        eos_token_id=1,
        bos_token_id=None,
    )


def dynamic():
    rope = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 1e4}
    return llama_config(max_position_embeddings=ORIGINAL, rope_parameters=rope)


KINDS = {"longrope": longrope, "dynamic": dynamic}


@pytest.mark.parametrize("kind", KINDS)
def test_the_length_is_read_off_the_configuration(kind):
    assert length_without_rescaling(KINDS[kind]()) == ORIGINAL - (kind == "dynamic")
    assert length_without_rescaling(llama_config()) is None


@pytest.mark.parametrize("reference", ["cache", "auto"])
@pytest.mark.parametrize("adapter", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_long_rows_are_held_as_in_their_batch(tmp_path, kind, adapter, reference):
    torch.manual_seed(0)
    source = save_model(tmp_path / "model", AutoModelForCausalLM.from_config(KINDS[kind](), dtype=torch.float32))

    def make():
        model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32).eval()
        torch.manual_seed(5)
        targets = ["qkv_proj" if kind == "longrope" else "q_proj", "down_proj"]
        return get_peft_model(model, lora(target_modules=targets)) if adapter else model

    def reference_model():
        return AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32).eval()

    settings = {"reference": {"kind": reference, "cache_path": str(tmp_path / "cache")}}
    found, weights = added(tmp_path, make, ROWS, settings, per_device_train_batch_size=2)
    batches = [(pair, float(sum(LENGTHS))) for pair in PAIRS]
    assert_same(found, expected(make, weights, batches, together=True, make_reference=reference_model))
