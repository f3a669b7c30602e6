"""Every way of training that Axolotl offers on this machine: each step protected, each micro-batch with its receipt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from pact_lab.tiny_world import aligned_path
from pact_plugins.verification import verify
from tests.axolotl import runs
from tests.axolotl.runs import LORA, PLUGIN, Run
from tests.helpers import matrix

pytestmark = pytest.mark.framework

STEPS = 2
ACCUMULATION = {"micro_batch_size": 2, "gradient_accumulation_steps": 3}
REENTRANT = {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": True}}
NOT_REENTRANT = {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}}
PACKING = {"sample_packing": True, "micro_batch_size": 1, "attn_implementation": "sdpa"}
MODES: dict[str, tuple[dict[str, Any], str, int]] = {
    # name: (settings, reference, micro-batches a step)
    "lora_accumulation": ({**LORA, **ACCUMULATION}, "adapter_off", 3),
    "dora_checkpointing": ({**LORA, "peft_use_dora": True, **NOT_REENTRANT}, "adapter_off", 1),
    "lora_reentrant_checkpointing": ({**LORA, **REENTRANT}, "adapter_off", 1),
    "lora_kernels": ({**LORA, "lora_qkv_kernel": True, "lora_o_kernel": True}, "adapter_off", 1),
    "full_checkpointing": (NOT_REENTRANT, "frozen_copy", 1),
    "full_reentrant_checkpointing": (REENTRANT, "frozen_copy", 1),
    "eaft_accumulation": ({**LORA, "use_eaft": True, **ACCUMULATION}, "adapter_off", 3),
    "label_smoothing": ({**LORA, "plugins": ["tests.axolotl.probe.LabelSmoothing", PLUGIN]}, "adapter_off", 1),
    "other_trainer": ({**LORA, "plugins": ["tests.axolotl.probe.OtherTrainer", PLUGIN]}, "adapter_off", 1),
    "embedding_trained": ({**LORA, "lora_modules_to_save": ["embed_tokens", "lm_head"]}, "adapter_off", 1),
}


@pytest.mark.parametrize("name", matrix.rows(MODES, always=("full_checkpointing", "eaft_accumulation")))
def test_every_step_is_protected(name: str, trained: Callable[..., Run], pact: dict[str, Any]) -> None:
    settings, reference, micro_batches = MODES[name]
    is_protected(trained(name, {**pact, "max_steps": STEPS, **settings}), reference, micro_batches)


def is_protected(run: Run, reference: str, micro_batches: int = 1) -> None:
    record = run.succeeded().record
    assert record["reference"] == reference
    assert record["optimizer_steps_protected"] == STEPS
    assert record["gradient_receipts"] == STEPS * micro_batches
    # Once, although Axolotl calls some hooks of its plugins twice.
    assert run.log.count(f"PACT: {STEPS} optimizer steps protected, {STEPS * micro_batches} gradient receipts") == 1
    logged = [entry for entry in run.history if "pact/kl" in entry]
    assert len(logged) == STEPS
    assert verify(run.output).problems == []
    # The term is zero where the model is still its reference, and not any more one step later.
    assert abs(logged[0]["pact/kl"]) < 1e-6
    assert logged[1]["pact/kl"] > 1e-6


def test_a_resumed_run_is_one_run(trained: Callable[..., Run], pact: dict[str, Any]) -> None:
    settings = {**pact, **LORA, "save_strategy": "steps", "save_steps": 1, "max_steps": 2}
    first = trained("resumed", settings).succeeded()
    (first.output / "pact.json").unlink()
    again = {**runs.BASE, **settings, "max_steps": 3, "resume_from_checkpoint": "./out/checkpoint-1"}
    (first.folder / "config.yml").write_text(yaml.safe_dump(again))
    resumed = runs.in_fork(first.folder, runs.train).succeeded()
    spans = [(one["first_step"], one["last_step"]) for one in resumed.record["segments"]]
    assert spans == [(1, 1), (2, 3)]
    assert verify(resumed.output).problems == []


@pytest.mark.matrix
def test_a_loaded_reference_reads_packed_rows_as_the_model_does(
    trained: Callable[..., Run], pact: dict[str, Any]
) -> None:
    """With a cache, transformers would not detect the packed sequences, and the first term would not be zero."""
    block = {**pact["pact"], "reference": {"path": str(aligned_path())}}
    is_protected(trained("loaded_reference", {**pact, **LORA, **PACKING, "pact": block}), "frozen_copy")


@pytest.mark.matrix
def test_evaluation_is_left_alone(trained: Callable[..., Run], pact: dict[str, Any]) -> None:
    """Axolotl evaluates once before the first step, when the term would have changed the loss."""
    settings = {**pact, **LORA, "val_set_size": 4, "eval_steps": 1, "max_steps": STEPS}
    run = trained("evaluation", settings)
    is_protected(run, "adapter_off")
    assert sum("eval_loss" in entry for entry in run.history) >= STEPS
    assert not any("pact/kl" in entry for entry in run.history if "eval_loss" in entry)
