"""The numbers: off is Axolotl's own run, the gradient is autograd's, packing and processes change nothing."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pact_lab import tiny_world
from pact_plugins.safety_tokens import SafetyTokens
from tests.axolotl import runs
from tests.axolotl.runs import LORA, PLUGIN, Run
from tests.helpers import matrix

pytestmark = pytest.mark.framework

FIRST_STEP = "tests.axolotl.probe.FirstStep"
KL_COEF = 3.0
TEMPERATURE = 2.0
# Four rows of one length in tokens: each split of them over rows, packs and ranks has the same denominator.
EQUAL_ROWS = [
    {"prompt": [{"role": "user", "content": f"Tell me about the {thing}."}], "completion": [answer]}
    for thing, answer in (
        ("tree", {"role": "assistant", "content": "I can help you with that."}),
        ("rain", {"role": "assistant", "content": "I can help you with this."}),
        ("house", {"role": "assistant", "content": "I can help you with that."}),
        ("book", {"role": "assistant", "content": "I can help me with that."}),
    )
]


def protected(pact: dict[str, Any], **settings: Any) -> dict[str, Any]:
    """Settings under which the first step's weights and gradients are written."""
    block = {**pact["pact"], "term": {"weight": KL_COEF, "temperature": TEMPERATURE}}
    return {
        **LORA,
        "plugins": [FIRST_STEP, PLUGIN],
        "pact": block,
        "max_steps": 1,
        "max_grad_norm": 1e9,
        **settings,
    }


def closeness(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> float:
    """Largest difference of any gradient, relative to the largest gradient of its parameter."""
    assert found.keys() == expected.keys()
    return max(
        float((found[name] - expected[name]).abs().max() / expected[name].abs().max().clamp(min=1e-8))
        for name in expected
    )


def test_off_is_axolotls_own_run(trained: Callable[..., Run], pact: dict[str, Any]) -> None:
    settings = {**LORA, "max_steps": 3, "lora_dropout": 0.1, "gradient_accumulation_steps": 2, "micro_batch_size": 2}
    stock = trained("stock", settings).succeeded()
    off = trained("off", {**settings, **pact, "pact": {**pact["pact"], "preset": "off"}}).succeeded()
    losses = [[entry["loss"] for entry in run.history if "loss" in entry] for run in (stock, off)]
    assert len(losses[0]) == 3
    assert losses[0] == losses[1]
    weights = [run.tensors("adapter_model") for run in (stock, off)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert "preset: off: nothing is added" in off.log
    assert not (off.output / "pact.json").exists()


def autograd_gradients(run: Run, safety_tokens: Path, *, lora: bool) -> None:
    """The gradient of mean cross-entropy plus KL_COEF times mean KL, from whole logits of two separate models.

    The mean is over the accumulated batch's tokens where Axolotl says so to the model (0.21), over micro-batches of
    their own means where it does not (0.19).
    """
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    reference = AutoModelForCausalLM.from_pretrained(tiny_world.aligned_path(), dtype=torch.float32)
    model = AutoModelForCausalLM.from_pretrained(tiny_world.aligned_path(), dtype=torch.float32)
    if lora:
        model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear"))
    weights = run.tensors("weights")
    for name, parameter in model.named_parameters():
        if name in weights:
            parameter.data.copy_(weights[name])
    ids = SafetyTokens.load(safety_tokens).token_ids
    files = sorted(run.output.glob("batch*.safetensors"))
    for file in files:
        batch = load_file(file)
        inputs = {key: batch[key] for key in ("input_ids", "attention_mask", "position_ids") if key in batch}
        labels = batch["labels"][:, 1:]
        predicted = labels != -100
        logits = model(**inputs).logits[:, :-1][predicted]
        with torch.no_grad():
            target = torch.softmax(reference(**inputs).logits[:, :-1][predicted][:, ids] / TEMPERATURE, dim=-1)
        cross_entropy = torch.nn.functional.cross_entropy(logits, labels[predicted], reduction="sum")
        divergence = (target * (target.log() - torch.log_softmax(logits[:, ids] / TEMPERATURE, dim=-1))).sum(
            -1
        ) * TEMPERATURE**2
        denominator = batch.get("num_items_in_batch", predicted.sum() * len(files))
        ((cross_entropy + KL_COEF * divergence.sum()) / denominator).backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    save_file(gradients, run.output / "expected.safetensors")


@pytest.mark.parametrize("mode", matrix.rows(["lora_accumulation", "full"], always=["lora_accumulation"]))
def test_the_gradient_is_autograds(
    mode: str, trained: Callable[..., Run], pact: dict[str, Any], safety_tokens: Path
) -> None:
    settings = protected(pact)
    if mode == "full":
        settings = {key: value for key, value in settings.items() if key not in LORA}
    else:
        settings |= {"micro_batch_size": 2, "gradient_accumulation_steps": 2}
    run = trained(f"gradient_{mode}", settings).succeeded()
    runs.in_fork(run.folder, partial(autograd_gradients, run, safety_tokens, lora=mode != "full")).succeeded()
    found, expected = run.tensors("gradients"), run.tensors("expected")
    assert closeness(found, expected) < 1e-4
    # The term is a real part of it.
    assert run.history[0]["pact/loss"] > 0.01


@pytest.fixture(scope="module")
def unpacked(trained: Callable[..., Run], pact: dict[str, Any]) -> Run:
    return trained("unpacked", protected(pact), EQUAL_ROWS).succeeded()


@pytest.mark.parametrize("attention", matrix.rows(["eager", "sdpa"], always=["sdpa"]))
def test_packed_equals_unpacked(
    attention: str, unpacked: Run, trained: Callable[..., Run], pact: dict[str, Any]
) -> None:
    settings = protected(pact, sample_packing=True, micro_batch_size=1, attn_implementation=attention)
    packed = trained(f"packed_{attention}", settings, EQUAL_ROWS).succeeded()
    batch = packed.tensors("batch0")
    assert batch["input_ids"].shape[0] == 1
    assert int((batch["position_ids"] == 0).sum()) >= len(EQUAL_ROWS)
    assert closeness(packed.tensors("gradients"), unpacked.tensors("gradients")) < 1e-4
    assert packed.record["response_tokens"] == unpacked.record["response_tokens"]


@pytest.mark.matrix
def test_packed_without_attention_implementation(
    trained: Callable[..., Run], pact: dict[str, Any], safety_tokens: Path
) -> None:
    """There Axolotl warns that packed rows see each other. The term reads what the model reads."""
    settings = protected(pact, sample_packing=True, micro_batch_size=1, attn_implementation=None)
    run = trained("packed_unset", settings, EQUAL_ROWS).succeeded()
    mask = run.tensors("batch0")["attention_mask"]
    assert set(mask.unique().tolist()) >= set(range(1, len(EQUAL_ROWS) + 1))
    assert "does not handle cross-sample decontamination" in run.log
    runs.in_fork(run.folder, partial(autograd_gradients, run, safety_tokens, lora=True)).succeeded()
    assert closeness(run.tensors("gradients"), run.tensors("expected")) < 1e-4


@pytest.mark.matrix
def test_two_processes_equal_one(unpacked: Run, pact: dict[str, Any], workplace: Path) -> None:
    plugins = ["tests.axolotl.probe.CPURanks", FIRST_STEP, PLUGIN]
    settings = protected(pact, plugins=plugins, micro_batch_size=2)
    file = runs.prepare(workplace / "two_processes", {**runs.BASE, **settings}, EQUAL_ROWS)
    launcher = ["--launcher", "torchrun", "--", "--nproc_per_node", "2", "--master_port", "29533"]
    run = runs.command(file.parent, "axolotl", "train", "config.yml", *launcher, ACCELERATE_USE_CPU="true").succeeded()
    assert closeness(run.tensors("gradients"), unpacked.tensors("gradients")) < 1e-4
    assert run.record["optimizer_steps_protected"] == 1
    assert run.log.count("1 optimizer steps protected") == 1
