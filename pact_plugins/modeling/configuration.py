"""A model's configuration, as far as it decides what the model computes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

# What says how the model was made, stored, trained or asked, and not what a forward pass in evaluation gives.
_WITHOUT_EFFECT = {
    *("_name_or_path", "architectures", "auto_map", "transformers_version", "model_type", "tokenizer_class"),
    *("dtype", "torch_dtype", "_attn_implementation", "initializer_range", "initializer_factor", "_commit_hash"),
    *("pad_token_id", "bos_token_id", "eos_token_id", "sep_token_id", "decoder_start_token_id", "vocab_size"),
    *("use_cache", "return_dict", "problem_type", "id2label", "label2id", "num_labels", "gradient_checkpointing"),
    *("router_aux_loss_coef", "router_z_loss_coef", "router_jitter_noise", "tie_word_embeddings", "use_mambapy"),
    *("finetuning_task", "task_specific_params", "is_decoder", "add_cross_attention", "is_encoder_decoder"),
}
_WITHOUT_EFFECT_IN_EVALUATION = ("dropout", "pdrop", "output_", "layerdrop")


def configuration_fingerprint(config: Any) -> str:
    """16 hexadecimal digits over every key that changes what weights compute: rotary base, norms, windows, soft caps.

    Keys that are not known to be without effect count, so that a new architecture's are not missed.
    """
    return hashlib.sha256(json.dumps(_effective(config.to_dict()), sort_keys=True, default=str).encode()).hexdigest()[
        :16
    ]


def _effective(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _effective(inner) for key, inner in value.items() if _has_effect(str(key))}
    return [_effective(inner) for inner in value] if isinstance(value, list | tuple) else value


def _has_effect(key: str) -> bool:
    return key not in _WITHOUT_EFFECT and not any(part in key for part in _WITHOUT_EFFECT_IN_EVALUATION)
