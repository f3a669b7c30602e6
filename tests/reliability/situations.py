"""Public ways to train a model, one row each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from tests.reliability.oracle import Situation
from tests.reliability.ways import WAYS

_DROPOUTS = ("dropout", "attention_dropout", "hidden_dropout", "attn_pdrop", "embd_pdrop", "resid_pdrop")
_MORE_DROPOUTS = ("activation_dropout", "layerdrop", "residual_dropout", "summary_first_dropout", "embedding_dropout")
COMMON: dict[str, Any] = {
    "vocab_size": 368,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "intermediate_size": 48,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 1,
    "tie_word_embeddings": False,
    **dict.fromkeys([*_DROPOUTS, *_MORE_DROPOUTS], 0.0),
}
EXPERTS = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
DEEPSEEK = {
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 24,
    "n_group": 1,
    "topk_group": 1,
    "kv_lora_rank": 8,
    "q_lora_rank": 8,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "first_k_dense_replace": 1,
    "n_shared_experts": 1,
    "num_key_value_heads": 2,
    "head_dim": 8,
}
MAMBA = {"mamba_d_state": 4, "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_n_groups": 1, "mamba_expand": 2}


def prepared(model: Any, scale: float = 0.2) -> Any:
    """In float32, with weights large enough to tell two tokens apart."""
    model = model.float()
    with torch.no_grad():
        for _, parameter in sorted(model.named_parameters()):
            if parameter.dim() > 1:
                parameter.normal_(0, scale)
    return model.eval()


def of(kind: str, **settings: Any) -> Callable[[], Any]:
    """The causal language model of a ``model_type``."""

    def make() -> Any:
        torch.manual_seed(0)
        config = AutoConfig.for_model(kind, **{**COMMON, **settings})
        return prepared(AutoModelForCausalLM.from_config(config, attn_implementation="eager"))

    return make


def lora(targets: Any = "all-linear", **settings: Any) -> Callable[[Any], Any]:
    """An adapter of rank 4 on it."""

    def adapt(model: Any) -> Any:
        return get_peft_model(model, LoraConfig(r=4, target_modules=targets, task_type="CAUSAL_LM", **settings))

    return adapt


HYBRID = ["linear_attention", "full_attention"]
LINEAR = {"linear_num_value_heads": 2, "linear_num_key_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8}
MODELS: dict[str, Callable[[], Any]] = {
    "gemma": of("gemma"),
    "gemma 2, caps on": of("gemma2", final_logit_softcapping=3.0, attn_logit_softcapping=5.0, sliding_window=4),
    "gemma 3n": of(
        "gemma3n_text",
        vocab_size_per_layer_input=368,
        hidden_size_per_layer_input=8,
        num_kv_shared_layers=0,
        laurel_rank=4,
        layer_types=["sliding_attention", "full_attention"],
        altup_num_inputs=2,
        activation_sparsity_pattern=[0.0, 0.0],
        intermediate_size=[48, 48],
    ),
    "gemma 3n, shared cache": of(
        "gemma3n_text",
        vocab_size_per_layer_input=368,
        hidden_size_per_layer_input=8,
        num_kv_shared_layers=2,
        num_hidden_layers=4,
        laurel_rank=4,
        altup_num_inputs=2,
        layer_types=["sliding_attention", "full_attention"] * 2,
        activation_sparsity_pattern=[0.0] * 4,
        intermediate_size=[48] * 4,
    ),
    "gemma 4": of(
        "gemma4_text",
        vocab_size_per_layer_input=368,
        hidden_size_per_layer_input=8,
        num_kv_shared_layers=0,
        layer_types=["sliding_attention", "full_attention"],
        global_head_dim=16,
    ),
    "vaultgemma": of("vaultgemma"),
    "qwen 2, sliding": of("qwen2", use_sliding_window=True, sliding_window=4, max_window_layers=1),
    "qwen 3-next": of("qwen3_next", layer_types=HYBRID, **LINEAR, **EXPERTS, shared_expert_intermediate_size=24),
    "qwen 3.5": of("qwen3_5_text", layer_types=HYBRID, **LINEAR),
    "jamba": of(
        "jamba",
        mamba_d_state=4,
        mamba_dt_rank=4,
        attn_layer_period=2,
        attn_layer_offset=1,
        expert_layer_period=2,
        expert_layer_offset=1,
        use_mamba_kernels=False,
        **EXPERTS,
    ),
    "bamba": of("bamba", attn_layer_indices=[1], **MAMBA),
    "zamba": of(
        "zamba",
        attn_layer_period=2,
        attn_layer_offset=1,
        mamba_d_state=4,
        mamba_dt_rank=4,
        n_mamba_heads=2,
        use_mamba_kernels=False,
        layers_block_type=["mamba", "hybrid"],
    ),
    "zamba 2": of(
        "zamba2",
        mamba_d_state=4,
        n_mamba_heads=4,
        mamba_headdim=16,
        mamba_ngroups=1,
        use_mamba_kernels=False,
        num_mem_blocks=1,
        hybrid_layer_ids=[1],
        layers_block_type=["mamba", "hybrid"],
    ),
    "falcon h1": of("falcon_h1", mamba_d_ssm=64, **MAMBA),
    "falcon h1, multipliers": of(
        "falcon_h1", mamba_d_ssm=64, lm_head_multiplier=0.3, embedding_multiplier=2.0, **MAMBA
    ),
    "granite, hybrid": of(
        "granitemoehybrid",
        layer_types=["mamba", "attention"],
        logits_scaling=4.0,
        shared_intermediate_size=24,
        **MAMBA,
        **EXPERTS,
    ),
    "granite, shared experts": of("granitemoeshared", shared_intermediate_size=24, logits_scaling=4.0, **EXPERTS),
    "nemotron": of("nemotron"),
    "nemotron h": of(
        "nemotron_h",
        layers_block_type=["mamba", "attention"],
        mamba_num_heads=4,
        mamba_head_dim=16,
        n_groups=1,
        ssm_state_size=4,
        use_mamba_kernels=False,
    ),
    "recurrent gemma": of(
        "recurrent_gemma",
        lru_width=32,
        block_types=["recurrent", "attention"],
        attention_window_size=4,
        logits_soft_cap=3.0,
    ),
    "deepseek 2": of("deepseek_v2", **{**DEEPSEEK, "topk_method": "greedy"}),
    "deepseek 3": of("deepseek_v3", **DEEPSEEK),
    "kimi, linear": of("kimi_linear", **DEEPSEEK),
    "glm 4": of("glm4"),
    "glm 4, experts": of("glm4_moe", **{**DEEPSEEK, "head_dim": 16}),
    "olmo, clipped": of("olmo", clip_qkv=2.0),
    "olmo 2": of("olmo2"),
    "olmo 3": of("olmo3", sliding_window=4),
    "olmo, hybrid": of("olmo_hybrid", layer_types=HYBRID, **LINEAR),
    "cohere 2": of("cohere2", sliding_window=4, logit_scale=0.25, layer_types=["sliding_attention", "full_attention"]),
    "exaone 4": of("exaone4", sliding_window=4, sliding_window_pattern=2),
    "smollm 3": of("smollm3", no_rope_layers=[1, 0]),
    "helium": of("helium"),
    "starcoder 2": of("starcoder2", sliding_window=4, use_bias=True),
    "stablelm": of("stablelm", use_parallel_residual=True, qk_layernorm=True),
    "persimmon": of("persimmon"),
    "phi": of("phi"),
    "phi, experts": of("phimoe", lm_head_bias=True, **EXPERTS),
    "gpt-j": of("gptj", n_embd=32, n_layer=2, n_head=2, rotary_dim=8, n_positions=256),
    "codegen": of("codegen", n_embd=32, n_layer=2, n_head=4, rotary_dim=4, n_positions=256),
    "falcon, alibi": of("falcon", alibi=True, new_decoder_architecture=False),
    "falcon, rotary": of("falcon", alibi=False, multi_query=True),
    "gpt-neo": of(
        "gpt_neo",
        num_layers=2,
        num_heads=2,
        attention_types=[[["global", "local"], 1]],
        window_size=4,
        embed_dropout=0.0,
        resid_dropout=0.0,
    ),
    "gpt bigcode": of("gpt_bigcode", n_embd=32, n_layer=2, n_head=2, n_positions=256),
    "gpt-neox japanese": of("gpt_neox_japanese"),
    "xglm": of("xglm", d_model=32, num_layers=2, attention_heads=2, ffn_dim=48),
    "biogpt": of("biogpt", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0),
    "ctrl": of("ctrl", n_embd=32, n_layer=2, n_head=2, dff=48, n_positions=256),
    "openai gpt": of("openai-gpt", n_embd=32, n_layer=2, n_head=2, n_positions=256),
    "bert as a decoder": of("bert", is_decoder=True, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0),
    "diffllama": of("diffllama", num_key_value_heads=2),
    "hunyuan": of("hunyuan_v1_dense"),
    "hunyuan, experts": of("hunyuan_v1_moe", moe_topk=2, **EXPERTS),
    "ernie 4.5": of("ernie4_5"),
    "ernie 4.5, experts": of(
        "ernie4_5_moe",
        moe_num_experts=4,
        moe_k=2,
        moe_intermediate_size=24,
        moe_num_shared_experts=1,
        moe_layer_start_index=1,
    ),
    "arcee": of("arcee"),
    "apertus": of("apertus"),
    "doge": of("doge"),
    "dots 1": of("dots1", **{**DEEPSEEK, "head_dim": 16}),
    "bitnet": of("bitnet"),
    "minimax": of("minimax", layer_types=HYBRID, block_size=8, **EXPERTS),
    "lfm 2, experts": of("lfm2_moe", layer_types=["conv", "full_attention"], num_dense_layers=1, **EXPERTS),
    "nanochat": of("nanochat", final_logit_softcapping=3.0),
    "jetmoe": of("jetmoe", kv_channels=16, **EXPERTS),
    "dbrx": of(
        "dbrx",
        d_model=32,
        n_heads=2,
        n_layers=2,
        max_seq_len=256,
        attn_config={"kv_n_heads": 1, "clip_qkv": 2.0},
        ffn_config={"ffn_hidden_size": 24, "moe_num_experts": 4, "moe_top_k": 2},
    ),
    "longcat": of(
        "longcat_flash",
        **{
            **DEEPSEEK,
            "expert_ffn_hidden_size": 24,
            "zero_expert_num": 2,
            "moe_topk": 2,
            "ffn_hidden_size": 48,
            "num_layers": 2,
        },
    ),
    "flex olmo": of("flex_olmo", **EXPERTS),
    "xlstm": of(
        "xlstm",
        num_heads=2,
        num_blocks=2,
        qk_dim_factor=1.0,
        chunkwise_kernel="chunkwise--native_autograd",
        sequence_kernel="native_sequence__native",
        step_kernel="native",
        chunk_size=8,
    ),
    "seed-oss": of("seed_oss"),
    "ministral": of("ministral", sliding_window=4),
    "gpt-oss, long rows": of("gpt_oss", sliding_window=4, **EXPERTS),
    "rembert": of(
        "rembert",
        is_decoder=True,
        input_embedding_size=16,
        output_embedding_size=16,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        classifier_dropout_prob=0.0,
    ),
    "xlnet": of("xlnet", d_model=32, n_layer=2, n_head=2, d_inner=48),
    "modernbert decoder": of("modernbert-decoder", embedding_dropout=0.0, mlp_dropout=0.0),
    "trocr's decoder": of("trocr", d_model=32, decoder_layers=2, decoder_attention_heads=2, decoder_ffn_dim=48),
    "afmoe": of("afmoe", **EXPERTS, num_dense_layers=1, sliding_window=4),
    "minimax m2": of("minimax_m2", rotary_dim=8, **EXPERTS),
    "solar": of("solar_open", **{**DEEPSEEK, "head_dim": 16}),
    "internlm 3": of("internlm3"),
    "minicpm 3": of("minicpm3", **DEEPSEEK),
    "longrope of minicpm": of("minicpm3", **DEEPSEEK, scale_emb=3.0, dim_model_base=16),
    "t5": lambda: prepared(
        transformers.T5ForConditionalGeneration(
            transformers.T5Config(
                vocab_size=368, d_model=32, d_ff=48, num_layers=1, num_heads=2, d_kv=16, decoder_start_token_id=0
            )
        )
    ),
}
SITUATIONS: dict[str, Situation] = {}
for number, (name, make) in enumerate(MODELS.items()):
    kind, adapt = ("full", lambda model: model) if number % 2 else ("LoRA", lora())
    SITUATIONS[f"model, {kind}: {name}"] = Situation(make, adapt)
SITUATIONS |= WAYS
