"""The reference's proof: what rounding does on its row is tolerated, weights that have moved are not."""

from __future__ import annotations

import pytest
import torch
from peft import get_peft_model

from pact_plugins.contracts import ReferenceContext
from pact_plugins.errors import UnprotectedTrainingError
from pact_plugins.modeling import model_parts_of
from pact_plugins.reference.online import AdapterOffReference
from pact_plugins.reference.settings import ReferenceSettings
from pact_plugins.reference.watch import ReferenceWatch
from pact_plugins.training.forward_pass import ForwardPass
from tests.helpers.tiny import tiny_llama
from tests.helpers.trainers import lora

ROW = torch.arange(5, 25)[None]


def watch_of(model, precision=None, reference=AdapterOffReference):
    model_parts = model_parts_of(model)
    pause = ForwardPass(model_parts.decoder).paused
    settings = ReferenceSettings()
    context = ReferenceContext(model_parts, settings, torch.arange(20, 60), False, pause, precision=precision)
    return ReferenceWatch(context, reference(context), ROW)


def adapted(dtype):
    torch.manual_seed(5)
    return get_peft_model(tiny_llama(initializer_range=0.1).to(dtype), lora()).to(dtype)


@torch.no_grad()
def towards_another(model, share):
    """A model tuned from the same weights differs from it by a fifth of them: this share of the way to one."""
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_" not in name and parameter.dim() > 1:
            step = torch.randn(parameter.shape, generator=generator) * parameter.float().std()
            parameter.copy_((parameter.float() + 0.2 * share * step).to(parameter.dtype))


@pytest.mark.parametrize(
    ("dtype", "precision", "share"),
    [(torch.float32, None, 0.001), (torch.float32, torch.bfloat16, 0.03), (torch.bfloat16, None, 0.03)],
)
def test_weights_that_move_a_little_are_seen(dtype, precision, share):
    model = adapted(dtype)
    watch = watch_of(model, precision)
    watch.check(1)
    towards_another(model, share)
    with pytest.raises(UnprotectedTrainingError, match="where rounding accounts for"):
        watch.check(2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_answer_that_is_no_number_is_a_change(dtype):
    model = adapted(dtype)
    watch = watch_of(model)
    with torch.no_grad():
        model.get_base_model().model.norm.weight[3] = float("nan")
    with pytest.raises(UnprotectedTrainingError, match="no longer the aligned model at step 7"):
        watch.check(7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_adapter_and_the_models_mode_may_change(dtype):
    model = adapted(dtype).eval()
    watch = watch_of(model)
    model.train()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.add_(0.1 * torch.randn(parameter.shape).to(dtype))
    watch.check(1)


class TwoFaced(torch.nn.Linear):
    """Computes otherwise in training, as bitsandbytes' int8 layers do on a CPU."""

    def forward(self, states):
        return super().forward(states if self.training else states.to(torch.bfloat16).to(states.dtype))


def test_a_head_that_computes_otherwise_in_training_has_not_moved():
    model = tiny_llama().eval()
    head = TwoFaced(32, 368, bias=False)
    head.weight = model.lm_head.weight
    head.base_layer = None  # no plain rows
    model.lm_head = head
    model = get_peft_model(model, lora()).eval()
    watch = watch_of(model)
    model.train()
    watch.check(1)
    towards_another(model, 10)
    with pytest.raises(UnprotectedTrainingError, match="where rounding accounts for"):
        watch.check(2)


class Silent(AdapterOffReference):
    """Says nothing of rows that it has not seen."""

    def online(self):
        return None


def test_a_reference_that_says_nothing_of_unseen_rows_is_not_watched():
    model = adapted(torch.float32)
    watch = watch_of(model, reference=Silent)
    towards_another(model, 1)
    watch.check(1)
