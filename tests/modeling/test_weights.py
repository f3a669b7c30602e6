"""A model in memory and the files that it is saved to have one digest; anything else has another."""

from __future__ import annotations

import json

import pytest
import torch
from peft import get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from pact_plugins.errors import DataError
from pact_plugins.modeling import model_parts_of
from pact_plugins.modeling.weights import weights_digest
from pact_plugins.weight_files import SavedWeights, saved_weights
from tests.helpers.tiny import llama_config, tiny_llama
from tests.helpers.trainers import lora, move_weights


def in_memory(model):
    return weights_digest(model_parts_of(model))


def mixture():
    from transformers import MixtralConfig

    sizes = {key: llama_config().to_dict()[key] for key in ("vocab_size", "hidden_size", "intermediate_size")}
    heads = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "num_local_experts": 4}
    return AutoModelForCausalLM.from_config(MixtralConfig(**sizes, **heads), dtype=torch.float32)


@pytest.mark.parametrize(
    "make",
    [
        tiny_llama,
        lambda: tiny_llama(tie_word_embeddings=True),
        lambda: tiny_llama().bfloat16(),
        mixture,
    ],
    ids=["llama", "tied", "bfloat16", "mixture of experts"],
)
@pytest.mark.parametrize("largest", ["5GB", "40KB"], ids=["one file", "shards"])
def test_a_whole_model(tmp_path, make, largest):
    model = make()
    model.save_pretrained(tmp_path, max_shard_size=largest)
    assert saved_weights(tmp_path) == SavedWeights(model=in_memory(model))
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=model.dtype)
    assert in_memory(loaded) == in_memory(model)


@pytest.mark.parametrize(
    "settings",
    [{}, {"modules_to_save": ["lm_head"]}, {"use_dora": True}, {"target_modules": ["embed_tokens", "q_proj"]}],
)
@pytest.mark.parametrize("adapter_name", ["default", "mine"])
def test_an_adapter(tmp_path, settings, adapter_name):
    model = get_peft_model(tiny_llama(), lora(**settings), adapter_name=adapter_name)
    before = in_memory(model)
    move_weights(model)
    model.save_pretrained(tmp_path)
    assert saved_weights(tmp_path) == SavedWeights(adapter=in_memory(model))
    assert in_memory(model) != before


def changed(folder, change, metadata=None):
    file = folder / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata=metadata)
    return saved_weights(folder).model


@pytest.fixture
def folder(tmp_path):
    tiny_llama().save_pretrained(tmp_path)
    return tmp_path


def test_what_changes_no_weight_changes_nothing(folder):
    before = saved_weights(folder).model
    assert changed(folder, lambda tensors: None, {"format": "pt", "by": "somebody else"}) == before


def swap_layers(tensors):
    first, second = (f"model.layers.{layer}.mlp.up_proj.weight" for layer in (0, 1))
    tensors[first], tensors[second] = tensors[second], tensors[first]


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: tensors["model.norm.weight"][0].add_(1e-6),
        lambda tensors: tensors.pop("model.norm.weight"),
        lambda tensors: tensors.update(more=torch.zeros(1)),
        swap_layers,
    ],
    ids=["one weight", "one fewer", "one more", "layers swapped"],
)
def test_other_weights_have_another_digest(folder, change):
    before = saved_weights(folder).model
    assert changed(folder, change) != before


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data + b"x",
        lambda data: data[:20],
        lambda data: b"",
        lambda data: b"\xff" * 8 + data[8:],
        lambda data: data.replace(b'"data_offsets":[', b'"data_offsets":["', 1),
        lambda data: data[:8] + b"[]" + b" " * (int.from_bytes(data[:8], "little") - 2),
    ],
)
def test_a_damaged_file_is_named(folder, damage):
    file = folder / "model.safetensors"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(DataError, match=r"model\.safetensors cannot be read"):
        saved_weights(folder)


def test_a_missing_shard_is_named(tmp_path):
    tiny_llama().save_pretrained(tmp_path, max_shard_size="40KB")
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    missing = sorted(set(index["weight_map"].values()))[0]
    (tmp_path / missing).unlink()
    with pytest.raises(DataError, match=f"lacks {missing}"):
        saved_weights(tmp_path)


def test_pickled_weights_are_not_opened(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"not even a pickle")
    assert saved_weights(tmp_path) == SavedWeights(pickled=("pytorch_model.bin",))
