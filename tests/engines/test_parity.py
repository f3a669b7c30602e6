"""Two processes of every engine train every parameter as one process without an engine does."""

from __future__ import annotations

import pytest
import torch

from tests.engines import cases
from tests.engines.conftest import read

pytestmark = [pytest.mark.framework, pytest.mark.matrix]

# TRL's own gradient of this head is wrong under FSDP2; test_sharded_head.py looks at the term alone.
NOT_COMPARABLE = {("fsdp2", "lm_head saved"), ("fsdp2", "lm_head saved, reference by path")}
PARITY = [(engine, name) for engine in cases.ENGINES for name in cases.NAMES if (engine, name) not in NOT_COMPARABLE]


def updates(parameters, step):
    """Plain SGD: what a step took away is its gradient times the learning rate."""
    prefix = f"{step}."
    return {
        name.removeprefix(prefix): parameters[f"{step - 1}.{name.removeprefix(prefix)}"] - value
        for name, value in parameters.items()
        if name.startswith(prefix)
    }


def difference(left, right):
    return {name: left[name] - right[name] for name in right}


def assert_same(found, expected, scale):
    assert found.keys() == expected.keys()
    for name, update in expected.items():
        largest = max(float(update.abs().max()), scale)
        torch.testing.assert_close(found[name], update, rtol=1e-3, atol=2e-4 * largest, msg=name)


@pytest.mark.parametrize(("engine", "name"), PARITY)
def test_every_parameter_moves_as_in_one_process(engines, one_process, engine, name):
    expected, expected_facts = read(one_process / name)
    found, facts = read(engines(engine) / name)
    assert facts["processes"] == 2
    assert found.keys() == expected.keys()
    for key in (key for key in expected if key.startswith("0.")):
        assert torch.equal(found[key], expected[key]), key
    without, _ = read(one_process / f"{name}, no term")
    for step in (1, 2):
        update = updates(expected, step)
        assert_same(updates(found, step), update, max(float(value.abs().max()) for value in update.values()) * 1e-2)
    # The term is no small part of what is compared.
    moved, plain = updates(expected, 2), updates(without, 2)
    assert max(float((moved[key] - plain[key]).abs().max() / plain[key].abs().max()) for key in plain) > 0.05
    for log, expected_log in zip(facts["logs"][:2], expected_facts["logs"][:2], strict=True):
        assert log["pact/kl"] == pytest.approx(expected_log["pact/kl"], rel=1e-3, abs=1e-7)
    assert facts["logs"][1]["pact/kl"] > 1e-4


@pytest.mark.parametrize("name", cases.NAMES)
def test_parameters_are_really_sharded(engines, name):
    """Otherwise the comparison above would compare DDP with itself."""
    _, ddp = read(engines("ddp") / name)
    _, fsdp2 = read(engines("fsdp2") / name)
    _, zero2 = read(engines("zero2") / name)
    _, zero3 = read(engines("zero3") / name)
    assert ddp["dtensors"] == ddp["partitioned"] == 0
    assert fsdp2["dtensors"] == fsdp2["parameters"]
    assert zero3["partitioned"] == zero3["zero3_parameters"] == zero3["parameters"]
    assert fsdp2["head_is_sharded"]
    assert zero3["head_is_sharded"]
    assert [facts["distributed_type"] for facts in (ddp, zero2, zero3)] == ["MULTI_CPU", "DEEPSPEED", "DEEPSPEED"]
    assert fsdp2["head_is_trained"] == zero3["head_is_trained"] == (name not in ("lora", "lora, reference by path"))


def test_zero2_partitions_the_optimizer(engines):
    _, facts = read(engines("zero2") / "full")
    assert facts["zero_stage"] == 2
    assert facts["partitioned"] == 0


def test_the_head_saved_under_fsdp2_gets_the_terms_gradient_and_a_warning(engines, one_process):
    """The trainer's own gradient there is not that of one process; if it ever is, the warning has to go."""
    name = "lm_head saved, reference by path"
    found, facts = read(engines("fsdp2") / name)
    plain, _ = read(engines("fsdp2") / f"{name}, no term")
    expected, _ = read(one_process / name)
    expected_plain, _ = read(one_process / f"{name}, no term")
    term = difference(updates(found, 1), updates(plain, 1))
    expected_term = difference(updates(expected, 1), updates(expected_plain, 1))
    assert_same(term, expected_term, max(float(value.abs().max()) for value in expected_term.values()) * 1e-2)
    head = next(key for key in expected_term if "lm_head" in key)
    own, expected_own = updates(plain, 1)[head], updates(expected_plain, 1)[head]
    assert float((own - expected_own).abs().max()) > 0.1 * float(expected_own.abs().max())
    assert any("fused LM head" in message for message in facts["warnings"])


@pytest.mark.parametrize("name", ["lora", "full"])
def test_no_warning_without_need(engines, name):
    for engine in cases.ENGINES:
        _, facts = read(engines(engine) / name)
        assert not any("fused LM head" in message for message in facts["warnings"])


@pytest.mark.parametrize("engine", ["fsdp2", "zero3"])
def test_a_sharded_model_cannot_be_copied_and_the_error_says_what_to_do(engines, engine):
    _, facts = read(engines(engine) / cases.REFUSED)
    assert "reference.path" in facts["error"]
