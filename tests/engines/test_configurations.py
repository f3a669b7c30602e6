"""``examples/accelerate``: what accelerate's own loader makes of each file."""

from __future__ import annotations

import json
from functools import cache

import pytest

from tests.engines import cases, launching
from tests.helpers import matrix

pytestmark = pytest.mark.framework

EXPECTED = {
    "ddp": {},
    "fsdp2": {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP"},
    "zero2": {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "2"},
    "zero3": {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"},
}


@cache
def environment(engine):
    return launching.accelerate_environment(launching.CONFIGURATIONS / f"{engine}.yaml", launching.python_for(engine))


def test_every_example_is_tried():
    assert {path.stem for path in launching.CONFIGURATIONS.iterdir()} == set(cases.ENGINES) == set(EXPECTED)


@pytest.mark.parametrize("engine", matrix.rows(cases.ENGINES, always=("fsdp2",)))
def test_the_engine_is_the_one_that_the_file_is_named_after(engine):
    found = environment(engine)
    assert found["ACCELERATE_MIXED_PRECISION"] == "bf16"
    assert {key: found[key] for key in EXPECTED[engine]} == EXPECTED[engine], json.dumps(found, indent=1)
    switches = {"ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"}
    assert switches & found.keys() == switches & EXPECTED[engine].keys()
