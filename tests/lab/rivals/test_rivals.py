"""Rivals that act beside the loss, on a random model and by hand."""

from __future__ import annotations

import pytest
import torch

from pact_lab.rivals import SafeGrad, SafetyAnchor, WeightAverage
from pact_plugins.contracts import CallbackContext
from tests.helpers.tiny import tiny_llama, tiny_tokenizer

REFUSALS = [{"prompt": "help with that", "response": "I cannot."}, {"prompt": "a letter", "response": "Sorry, no."}]


def callback(method):
    (found,) = method(CallbackContext(tiny_tokenizer(), REFUSALS, seed=0))
    return found


def drifted(one):
    """A model, what the callback remembers of it, and some way that it went since."""
    model = tiny_llama()
    one.on_train_begin(None, None, None, model=model)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def flat(model):
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


def test_the_average_of_the_weights():
    model = tiny_llama()
    name, weight = next(iter(model.named_parameters()))
    start = weight.detach().clone()
    averaging = callback(WeightAverage(decay=0.75))
    averaging.on_train_begin(None, None, None, model=model)
    for _ in range(2):
        with torch.no_grad():
            weight.add_(1.0)
        averaging.on_step_end(None, None, None, model=model)
    averaging.on_train_end(None, None, None, model=model)
    # 0.75 (0.75 * 0 + 0.25 * 1) + 0.25 * 2
    torch.testing.assert_close(weight.detach(), start + 0.6875, msg=name)


@pytest.mark.parametrize("method", [SafeGrad(batch=2), SafetyAnchor(examples=2)])
def test_without_drift_nothing_is_added(method):
    one, model = callback(method), tiny_llama()
    one.on_train_begin(None, None, None, model=model)
    one.on_pre_optimizer_step(None, None, None, model=model)
    torch.testing.assert_close(flat(model), torch.zeros_like(flat(model)), atol=1e-6, rtol=0)


@pytest.mark.parametrize("method", [SafeGrad(batch=2), SafetyAnchor(examples=2)])
def test_the_second_gradient_leads_back(method):
    one = callback(method)
    model = drifted(one)
    before = one._loss(model).item()
    one.on_pre_optimizer_step(None, None, None, model=model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.sub_(0.02 * parameter.grad / flat(model).norm())
    assert one._loss(model).item() < before


def test_what_opposes_the_refusals_is_projected_out():
    one = callback(SafeGrad(batch=2))
    model = drifted(one)
    one.on_pre_optimizer_step(None, None, None, model=model)
    held = flat(model)
    torch.manual_seed(2)
    aside = torch.randn_like(held)
    aside -= held * (aside @ held) / (held @ held)
    for against, kept in ((-3 * held + aside, aside), (3 * held + aside, 3 * held + aside)):
        place = 0
        for parameter in model.parameters():
            parameter.grad = against[place : place + parameter.numel()].view_as(parameter).clone()
            place += parameter.numel()
        one.on_pre_optimizer_step(None, None, None, model=model)
        torch.testing.assert_close(flat(model), kept + held, atol=1e-4, rtol=1e-3)
