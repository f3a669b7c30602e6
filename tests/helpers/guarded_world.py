"""The toy benchmark's opening tokens and anchor prompts, as files that a YAML can name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from pact_lab import tiny_world


def guard_settings(folder: Path) -> dict[str, Any]:
    """A ``pact:`` block with gate, anchor and term; writes what it names into ``folder``."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from pact_plugins.batch.teacher_forcing import TeacherForced, teacher_force
    from pact_plugins.modeling import LiveHead, model_parts_of, prompt_ids
    from pact_plugins.safety_tokens import SafetyTokens
    from pact_plugins.safety_tokens.opening_tokens import (
        find_opening_tokens,
        first_token_probability,
        refusal_threshold,
    )

    prompts = {
        "harmful": tiny_world.harmful_prompts(64, seed=21, split="train"),
        "harmless": tiny_world.benign_prompts(64, seed=22, split="train"),
    }
    model_parts = model_parts_of(AutoModelForCausalLM.from_pretrained(tiny_world.aligned_path()).float())
    tokenizer = AutoTokenizer.from_pretrained(tiny_world.aligned_path())

    def after(texts: list[str]) -> Any:
        sequences = [TeacherForced(prompt_ids(tokenizer, text), [0]) for text in texts]
        head = LiveHead(model_parts.causal_lm)
        forced = teacher_force(model_parts.decoder, head, sequences, batch_size=64, description="", progress=False)
        return head, torch.cat(forced.hidden_states)

    (head, harmful), (_, harmless) = (after(texts) for texts in prompts.values())
    opening_tokens = find_opening_tokens(
        first_token_probability(head, harmful, "cpu"), first_token_probability(head, harmless, "cpu"), limit=12
    )
    first = head.logits(harmful, None).softmax(dim=-1)
    masses = first[:, list(opening_tokens.refusal)].sum(dim=-1)
    tokens = SafetyTokens.random(tokenizer, len(tokenizer), count=24, seed=1)
    found = {
        "refusal_opening_tokens": list(opening_tokens.refusal),
        "compliance_opening_tokens": list(opening_tokens.compliance),
        "refusal_threshold": refusal_threshold(masses),
    }
    replace(tokens, settings={**tokens.settings, **found}).save(folder / "opening_tokens.safetensors")
    rows = [{"prompt": text, "kind": kind} for kind, texts in prompts.items() for text in texts]
    (folder / "anchor_prompts.json").write_text(json.dumps(rows))
    return {
        "preset": "guard",
        "safety_tokens": {"file": str(folder / "opening_tokens.safetensors")},
        "anchor": {"prompts": str(folder / "anchor_prompts.json"), "replies": 8, "max_new_tokens": 12},
        "reference": {"cache_path": str(folder / "cache")},
    }
