"""Every loss that LLaMA-Factory has, with the term in it: gradients against autograd on formulas written out here."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForCausalLM
from transformers.trainer_pt_utils import LabelSmoother

from pact_lab import tiny_world
from pact_llamafactory import training
from pact_plugins.errors import UnprotectedTrainingError
from pact_plugins.safety_tokens import SafetyTokens
from tests.helpers import matrix
from tests.llamafactory import runs

pytestmark = pytest.mark.framework

KL_COEF, TEMPERATURE, SMOOTHING, ASFT_ALPHA, EAFT_ALPHA = 3.0, 2.0, 0.2, 0.1, 1.0
LOSSES: dict[str, dict[str, Any]] = {
    "default": {},
    "dft": {"use_dft_loss": True},
    "eaft": {"use_eaft_loss": True, "eaft_alpha": EAFT_ALPHA},
    "asft": {"use_asft_loss": True, "asft_alpha": ASFT_ALPHA},
    "label_smoothing": {"label_smoothing_factor": SMOOTHING},
}


@pytest.fixture
def loss_settings(settings: dict[str, Any], world: Path) -> dict[str, Any]:
    """One SGD step over eight rows in full fine-tuning, held to another model, so that the divergence is not zero."""
    block = {**settings["pact"], "term": {"weight": KL_COEF}, "reference": {"path": str(world / "drifted")}}
    return {
        **settings,
        "pact": block,
        "finetuning_type": "full",
        "max_steps": 1,
        "max_grad_norm": 0.0,
        "optim": "sgd",
        "disable_shuffling": True,
    }


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("batch_size", "accumulation"), [(8, 1), (2, 4)])
def test_gradients(loss_settings: dict[str, Any], world: Path, loss: str, batch_size: int, accumulation: int) -> None:
    switches = dict(LOSSES[loss])
    if loss == "asft":
        switches["ref_model"] = str(world / "drifted")
    steps = {"per_device_train_batch_size": batch_size, "gradient_accumulation_steps": accumulation}
    run = runs.train(loss_settings, **switches, **steps)
    assert [len(batch["labels"]) for batch in run.recorder.batches] == [batch_size] * accumulation
    expected = _expected(loss, run.recorder, world)
    assert run.recorder.gradients.keys() == expected.keys()
    for name, gradient in expected.items():
        difference = (run.recorder.gradients[name] - gradient).abs().max() / gradient.abs().max()
        assert difference < 5e-5, (name, float(difference))
    assert run.record is not None
    assert run.record["gradient_receipts"] == accumulation


def test_accumulation_changes_nothing(loss_settings: dict[str, Any], tmp_path: Path) -> None:
    """Four micro-batches of two rows give the gradient of one batch of eight."""
    one = runs.train(loss_settings, per_device_train_batch_size=8)
    steps = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    four = runs.train(loss_settings, **steps, output_dir=str(tmp_path / "four"))
    for name, gradient in one.recorder.gradients.items():
        assert (four.recorder.gradients[name] - gradient).abs().max() < 5e-5 * gradient.abs().max()


def test_a_term_beside_the_loss_stops_the_run(loss_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Under DFT the model's own loss is not what is back-propagated: a term that rides on it would be lost."""
    monkeypatch.setattr(training, "computes_own_loss", lambda trainer: False)
    with pytest.raises(UnprotectedTrainingError, match="the term was never computed"):
        runs.train(loss_settings, use_dft_loss=True)
    assert not (Path(loss_settings["output_dir"]) / "model.safetensors").exists()


LORA_AND_PACKING = {"finetuning_type": "lora", "packing": True, "neat_packing": True, "per_device_train_batch_size": 2}


@pytest.mark.parametrize("loss", matrix.rows(LOSSES, always=("default",)))
def test_adapters_and_packed_rows(settings: dict[str, Any], loss: str) -> None:
    """Every loss again, where the reference is the adapter's own model and a row holds several conversations."""
    switches = {**LOSSES[loss], **({"ref_model": settings["model_name_or_path"]} if loss == "asft" else {})}
    run = runs.train(settings, **LORA_AND_PACKING, **switches, cutoff_len=64)
    assert run.record is not None
    assert run.record["reference"] == "adapter_off"
    assert run.record["gradient_receipts"] == 2
    assert run.record["response_tokens"] == sum(int((b["labels"] != -100).sum()) for b in run.recorder.batches)
    assert run.logged("pact/kl")[0] < 1e-7 < run.logged("pact/kl")[1]


@pytest.mark.matrix
def test_asft_has_its_own_conditions_with_and_without_the_term(settings: dict[str, Any], tmp_path: Path) -> None:
    """LLaMA-Factory's own, not PACT's: no reference model beside an adapter, no evaluation."""
    asft = {"use_asft_loss": True, "max_steps": 1}
    for name, stage in {"sft": {"stage": "sft", "pact": None}, "pact": {}}.items():
        with pytest.raises(TypeError, match="NoneType"):
            runs.train(settings, **asft, **stage, output_dir=str(tmp_path / name))
    evaluation = {"val_size": 8, "eval_strategy": "steps", "eval_steps": 1, "ref_model": settings["model_name_or_path"]}
    with pytest.raises(TypeError, match="0-d tensor"):
        runs.train(settings, **asft, **evaluation)


def test_a_loss_that_grows_with_accumulation_is_announced(
    loss_settings: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="pact_plugins"):
        runs.train(loss_settings, label_smoothing_factor=SMOOTHING, gradient_accumulation_steps=2)
    told = "grows with gradient_accumulation_steps" in caplog.text
    assert told is ("num_items_in_batch" not in inspect.signature(LabelSmoother.__call__).parameters)


def _expected(loss: str, recorder: runs.Recorder, world: Path) -> dict[str, Tensor]:
    model = AutoModelForCausalLM.from_pretrained(tiny_world.aligned_path())
    reference = AutoModelForCausalLM.from_pretrained(world / "drifted")
    token_ids = SafetyTokens.load(world / "tokens.safetensors").token_ids
    total = sum(int((batch["labels"] != -100).sum()) for batch in recorder.batches)
    objective = torch.zeros(())
    for batch in recorder.batches:
        inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
        kept = batch["labels"][:, 1:] != -100
        targets = batch["labels"][:, 1:][kept]
        logits = model(**inputs).logits[:, :-1][kept]
        with torch.no_grad():
            reference_logits = reference(**inputs).logits[:, :-1][kept]
        objective = objective + _own_loss(loss, logits, reference_logits, targets, total)
        log_q = torch.log_softmax(reference_logits[:, token_ids] / TEMPERATURE, dim=-1)
        log_p = torch.log_softmax(logits[:, token_ids] / TEMPERATURE, dim=-1)
        objective = objective + KL_COEF * TEMPERATURE**2 * (log_q.exp() * (log_q - log_p)).sum() / total
    objective.backward()
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


def _own_loss(loss: str, logits: Tensor, reference_logits: Tensor, targets: Tensor, total: int) -> Tensor:
    losses = functional.cross_entropy(logits, targets, reduction="none")
    weighted = losses * torch.exp(-losses).detach()
    if loss == "default":
        return losses.sum() / total
    if loss == "dft":
        return weighted.sum() / total
    if loss == "eaft":
        top = torch.log_softmax(logits.detach().topk(20, dim=-1).values, dim=-1)
        entropy = -(top.exp() * top).sum(dim=-1)
        return (losses * (entropy / 3.0) ** EAFT_ALPHA).sum() / total
    if loss == "asft":
        # Its own two means are over the micro-batch, whatever the accumulation.
        divergence = reference_logits.softmax(-1) * (reference_logits.log_softmax(-1) - logits.log_softmax(-1))
        return weighted.mean() + ASFT_ALPHA * divergence.sum(dim=-1).mean()
    smoothed = functional.cross_entropy(logits, targets, label_smoothing=SMOOTHING)
    if "num_items_in_batch" in inspect.signature(LabelSmoother.__call__).parameters:
        return smoothed * len(targets) / total
    return smoothed
