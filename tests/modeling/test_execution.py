"""Side passes leave no trace: modes, random-number states, precision."""

from __future__ import annotations

import random

import numpy
import pytest
import torch

from pact_plugins.modeling import (
    AutocastState,
    checkpointed_modules,
    checkpointing_if_large,
    evaluation_mode,
    preserved_random_state,
)
from tests.helpers.tiny import tiny_llama


def modes(model):
    return [module.training for module in model.modules()]


def test_evaluation_mode_restores_mixed_modes():
    model = tiny_llama().train()
    model.model.layers[0].eval()
    before = modes(model)
    assert len(set(before)) == 2
    with evaluation_mode(model):
        assert not any(modes(model))
    assert modes(model) == before


def test_evaluation_mode_restores_after_an_error():
    model = tiny_llama().train()
    with pytest.raises(RuntimeError), evaluation_mode(model):
        raise RuntimeError
    assert all(modes(model))


def test_four_bit_layers_stay_in_training():
    """The real ones are trained in tests/engines; there is nothing else in them that evaluation would switch."""

    class Linear4bit(torch.nn.Linear):
        pass

    class LinearNF4(Linear4bit):
        pass

    model = torch.nn.Sequential(LinearNF4(2, 2), torch.nn.Dropout()).eval()
    with evaluation_mode(model):
        assert [child.training for child in model] == [True, False]
    assert not any(child.training for child in model)


def test_evaluation_mode_switches_dropout_off():
    model = tiny_llama(attention_dropout=0.5).train()
    ids = torch.arange(2, 12)[None]
    with torch.no_grad(), evaluation_mode(model):
        assert torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)
    with torch.no_grad():
        assert not torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)


def draw():
    return random.random(), float(numpy.random.rand()), float(torch.rand(()))


def test_random_state_is_preserved_even_after_an_error():
    random.seed(1), numpy.random.seed(1), torch.manual_seed(1)
    expected = draw()
    random.seed(1), numpy.random.seed(1), torch.manual_seed(1)
    with preserved_random_state():
        draw()
        torch.manual_seed(99)
    assert draw() == expected
    random.seed(1), numpy.random.seed(1), torch.manual_seed(1)
    with pytest.raises(ZeroDivisionError), preserved_random_state():
        draw()[0] / 0
    assert draw() == expected


@pytest.mark.parametrize("enabled", [True, False])
def test_autocast_state_is_entered_again_elsewhere(enabled):
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
        state = AutocastState.current("cpu")
    with state():
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == (torch.bfloat16 if enabled else torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16), AutocastState("cpu", False, torch.bfloat16)():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


@pytest.mark.parametrize(("tokens", "passes"), [(8, 1), (1000, 2)], ids=["short", "long"])
def test_a_pass_that_is_short_beside_the_batch_is_not_computed_twice(tokens, passes):
    model = tiny_llama().train()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    calls = []
    model.model.layers[0].self_attn.register_forward_hook(lambda *_: calls.append(1))
    with checkpointing_if_large(checkpointed_modules(model.model), tokens, beside=64):
        hidden = model.model(input_ids=torch.arange(8)[None] + 20)[0]
    hidden.sum().backward()
    assert len(calls) == passes
    assert all(layer.gradient_checkpointing for layer in model.model.layers)
