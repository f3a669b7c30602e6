"""A small Llama with a byte-level tokenizer as a GGUF file of float32, chat template included."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
from transformers import AutoModelForCausalLM, AutoTokenizer

_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def write_gguf(folder: Path, file: Path) -> Path:
    """Write the checkpoint of ``folder`` (tied embeddings) as ``file``."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    config = model.config
    file.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    _add_tokenizer(writer, tokenizer)
    for name, weight in model.state_dict().items():
        if name != "lm_head.weight":
            writer.add_tensor(*_tensor(name.removesuffix(".weight"), weight.numpy(), config.num_attention_heads))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: AutoTokenizer) -> None:
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    added = {entry["id"]: entry["content"] for entry in content["added_tokens"]}
    tokens = {**{place: token for token, place in content["model"]["vocab"].items()}, **added}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([tokens[place] for place in sorted(tokens)])
    kinds = (gguf.TokenType.CONTROL if place in added else gguf.TokenType.NORMAL for place in sorted(tokens))
    writer.add_token_types([int(kind) for kind in kinds])
    writer.add_token_merges([" ".join(pair) for pair in content["model"]["merges"]])
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_add_bos_token(False)
    writer.add_chat_template(tokenizer.chat_template)


def _tensor(name: str, weight: np.ndarray, heads: int) -> tuple[str, np.ndarray]:
    if not name.startswith("model.layers."):
        return f"{_NAMES[name]}.weight", weight
    _, _, layer, rest = name.split(".", 3)
    if rest in ("self_attn.q_proj", "self_attn.k_proj"):
        # llama.cpp rotates neighbouring rows, transformers the two halves of a head.
        halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, -1)
        weight = np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(weight.shape)
    return f"blk.{layer}.{_NAMES[rest]}.weight", weight
