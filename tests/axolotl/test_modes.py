"""Every way of training that Axolotl offers on this machine: each step protected, each micro-batch with its receipt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.axolotl.runs import LORA, PLUGIN, Run

STEPS = 2
MODES: dict[str, tuple[dict[str, Any], str, int]] = {
    # name: (settings, reference, micro-batches a step)
    "lora": (LORA, "adapter_off", 1),
    "dora": ({**LORA, "peft_use_dora": True}, "adapter_off", 1),
    "full": ({}, "frozen_copy", 1),
    "accumulation": ({**LORA, "micro_batch_size": 2, "gradient_accumulation_steps": 3}, "adapter_off", 3),
    "checkpointing_reentrant": (
        {**LORA, "gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": True}},
        "adapter_off",
        1,
    ),
    "checkpointing": (
        {**LORA, "gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}},
        "adapter_off",
        1,
    ),
    "full_checkpointing": (
        {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}},
        "frozen_copy",
        1,
    ),
    "packing_eager": ({**LORA, "sample_packing": True, "micro_batch_size": 1}, "adapter_off", 1),
    "packing_sdpa": (
        {**LORA, "sample_packing": True, "micro_batch_size": 1, "attn_implementation": "sdpa"},
        "adapter_off",
        1,
    ),
    "packing_unset": (
        {**LORA, "sample_packing": True, "micro_batch_size": 1, "attn_implementation": None},
        "adapter_off",
        1,
    ),
    "eaft": ({**LORA, "use_eaft": True}, "adapter_off", 1),
    "eaft_accumulation": (
        {**LORA, "use_eaft": True, "micro_batch_size": 2, "gradient_accumulation_steps": 3},
        "adapter_off",
        3,
    ),
    "label_smoothing": (
        {**LORA, "plugins": ["tests.axolotl.probe.LabelSmoothing", PLUGIN]},
        "adapter_off",
        1,
    ),
    "other_trainer": ({**LORA, "plugins": ["tests.axolotl.probe.OtherTrainer", PLUGIN]}, "adapter_off", 1),
    "evaluation": (
        {**LORA, "val_set_size": 4, "eval_steps": 1, "eval_sample_packing": False},
        "adapter_off",
        1,
    ),
    "embedding_trained": ({**LORA, "lora_modules_to_save": ["embed_tokens", "lm_head"]}, "adapter_off", 1),
}


@pytest.mark.framework
@pytest.mark.parametrize("name", MODES)
def test_every_step_is_protected(name: str, trained: Callable[..., Run], pact: dict[str, Any]) -> None:
    settings, reference, micro_batches = MODES[name]
    run = trained(name, {**pact, "max_steps": STEPS, **settings}).succeeded()
    record = run.record
    assert record["reference"] == reference
    assert record["optimizer_steps_protected"] == STEPS
    assert record["gradient_receipts"] == STEPS * micro_batches
    assert f"PACT: {STEPS} optimizer steps protected, {STEPS * micro_batches} gradient receipts" in run.log
    logged = [entry for entry in run.history if "pact/kl" in entry]
    assert len(logged) == STEPS
    # The term is zero where the model is still its reference, and not any more one step later.
    assert abs(logged[0]["pact/kl"]) < 1e-6
    assert logged[1]["pact/kl"] > 1e-6
