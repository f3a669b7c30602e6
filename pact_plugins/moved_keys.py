"""Keys that stood at the top of the configuration before every part had its block, and where they stand now."""

from __future__ import annotations

from typing import Any

MOVED = {
    "objective": "term.objective",
    "objective_options": "term.options",
    "kl_coef": "term.weight",
    "kl_temperature": "term.temperature",
    "gate": "term.mixture",
    "gate_training_rows": "row_gate.mode",
    "gate_threshold": "row_gate.threshold",
    "anchor_size": "anchor.replies",
    "anchor_coef": "anchor.weight",
    "anchor_fraction": "anchor.share",
    "anchor_every": "anchor.every",
    "anchor_prompts_path": "anchor.prompts",
    "anchor_max_new_tokens": "anchor.max_new_tokens",
    "top_k": "safety_tokens.top_k",
    "token_scorer": "safety_tokens.scorer",
    "include_openers": "safety_tokens.include_openings",
    "exclude_special_tokens": "safety_tokens.exclude_special_tokens",
    "base_model_path": "safety_tokens.base_model_path",
    "refusals_path": "safety_tokens.refusals_path",
    "harmful_prompts_path": "safety_tokens.harmful_prompts_path",
    "harmless_prompts_path": "safety_tokens.harmless_prompts_path",
    "max_refusals": "safety_tokens.max_refusals",
    "max_response_tokens": "safety_tokens.max_response_tokens",
    "calibration_batch_size": "safety_tokens.batch_size",
    "reference_model_path": "reference.path",
    "cache_path": "reference.cache_path",
    "reference_check_every": "reference.check_every",
    "assistant_header": "reference.assistant_header",
    "parts": "a block of each part's own name",
}
# They are blocks now, and were a single word.
_WERE_WORDS = {"anchor": "anchor.prompts", "safety_tokens": "safety_tokens.file", "reference": "reference.kind"}


def moved_to(key: str, value: Any) -> str | None:
    """Where ``key`` stands now; None where it is none of the old ones."""
    if key in _WERE_WORDS:
        return _WERE_WORDS[key] if isinstance(value, str) and value != "off" else None
    return MOVED.get(key)
